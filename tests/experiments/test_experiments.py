"""Every experiment, small: what a run leaves, stopping and going on, the command line."""

import dataclasses
import importlib
import json
import signal
import sys
import typing
from pathlib import Path

import pytest
import tyro

from cnn_jax.data import DataConfig, load_dataset
from cnn_jax.models import create_model
from cnn_jax.pretrained import Network, Preprocessing
from cnn_jax.training import read_metrics
from experiments import finetune, resnet_cifar
from experiments.__main__ import experiments, main
from experiments.tools import run as run_module
from experiments.tools.command_line import RunOptions, parse
from experiments.tools.run_directory import load_config, settings

# The others draw something and train nothing.
NAMES = [
    name
    for name in sorted(experiments())
    if hasattr(importlib.import_module(f"experiments.{name}"), "build")
]
# One of one run and one of several stand for all in what the runner does.
TYPICAL = ("plain_vs_resnet", "resnet_cifar")
MODES = [
    pytest.param(name, mode, marks=() if mode == "jit" or name in TYPICAL else pytest.mark.full)
    for name in NAMES
    for mode in ("jit", "pmap")
    if (name, mode) != ("char_rnn", "pmap")  # carried state is refused there
]
SMOKE = ("--smoke", "--name", "one")
SHORT = (*SMOKE, "--training.duration", "4 steps", "--training.log-every", "1 step")


def contents(directory: Path) -> dict[str, bytes]:
    """Every file that describes a run, by path."""
    names = ("*.json", "*.csv")
    return {str(p): p.read_bytes() for name in names for p in sorted(directory.rglob(name))}


@pytest.mark.parametrize(("name", "mode"), MODES)
def test_an_experiment_leaves_its_files(start, tmp_path, name, mode):
    start(name, *SMOKE, "--parallel", mode)
    directory = tmp_path / name / "one"
    module = importlib.import_module(f"experiments.{name}")
    config, seed = load_config(module.Config, directory)
    assert (config, seed) == (module.SMOKE, 0)

    runs = [path.parent for path in sorted(directory.rglob("summary.json"))]
    assert runs
    for run in runs:
        summary = json.loads((run / "summary.json").read_text())
        rows = read_metrics(run / "metrics.csv")
        step = summary["step"]
        assert rows[-1]["step"] == step <= 12
        assert step == 12 or summary["stopped_early"]
        assert {row["split"] for row in rows} == {"train", "validation"}
        assert "curves" in {p.stem for p in (run / "figures").glob("*.png")}
        assert (run / "checkpoints" / str(step)).is_dir()
    if name == "autoencoder":
        # A picture of the state at the evaluation, numbered by its step.
        assert (directory / "code-8" / "figures" / "reconstructions-000012.png").is_file()
    if name == "dcgan":
        figures = directory / "gan" / "figures"
        assert (figures / "samples-000006.png").is_file() and (figures / "samples.gif").is_file()
    compared = {p.stem for p in (directory / "figures").glob("*.png")}
    assert bool(compared) == (len(runs) > 1 or "curves" in compared)


@pytest.mark.full
def test_googlenet_is_compared_with_and_without_auxiliary_classifiers(start, tmp_path):
    start("googlenet_cifar", *SMOKE, "--auxiliary", "both")
    figures = (tmp_path / "googlenet_cifar" / "one" / "figures").glob("*.png")
    assert {path.stem for path in figures} == {"auxiliary", "gradients"}


@pytest.mark.parametrize("name", TYPICAL)
def test_the_same_command_again_changes_nothing(start, tmp_path, capsys, name):
    start(name, *SMOKE)
    before = contents(tmp_path / name / "one")
    capsys.readouterr()
    start(name, *SMOKE)
    shown = " ".join(capsys.readouterr().out.split())
    assert "accuracy" in shown and "finished before, at step 12; --overwrite trains anew" in shown
    assert contents(tmp_path / name / "one") == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_same_command_goes_on_to_the_same_bits(
    start, tmp_path, monkeypatch, capsys, number
):
    calm, stopped = tmp_path / "calm", tmp_path / "stopped"
    start("resnet_cifar", *SHORT, workdir=calm)
    train = run_module.train

    def interrupted(*arguments, **options):
        def writer(step: int, values: dict[str, float]) -> None:
            if step == 2:
                signal.raise_signal(number)

        return train(*arguments, **options | {"writer": writer})

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "train", interrupted)
        with pytest.raises(SystemExit) as exit:
            start("resnet_cifar", *SHORT, workdir=stopped)
    assert exit.value.code == run_module.INTERRUPTED == 75
    assert "stopped at step 2 of 4; the state is saved" in capsys.readouterr().out
    # By --resume, whatever the workdir.
    start("resnet_cifar", "--resume", str(stopped / "resnet_cifar" / "one"))

    from experiments.tools.kill_and_resume import differences

    assert (calm / "resnet_cifar/one/checkpoints/4").is_dir()
    lines = differences(calm / "resnet_cifar" / "one", stopped / "resnet_cifar" / "one")
    # The stop saved one more.
    assert [line for line in lines if not line.startswith("checkpoints")] == []


def test_a_finished_run_is_trained_longer(start, tmp_path, capsys):
    directory = tmp_path / "linear_features" / "one"
    start("linear_features", *SHORT)
    before = json.loads((directory / "config.json").read_text())
    capsys.readouterr()
    start("linear_features", "--resume", str(directory), "--training.duration", "6 steps")
    shown = " ".join(capsys.readouterr().out.split())
    assert "the one_cycle schedule is computed anew for 6 steps instead of 4" in shown
    assert "goes on from step 4 of 6" in shown
    assert read_metrics(directory / "metrics.csv")[-1]["step"] == 6
    after = json.loads((directory / "config.json").read_text())
    assert after["config"]["training"]["duration"] == "6 steps"
    assert after["networks"][""]["training"]["duration"] == "6 steps"
    assert [one["config"] for one in after["earlier"]] == [before["config"]]
    assert after["earlier"][0]["command"] == before["command"] != after["command"]
    # Its new length is the run's from now on, and a shorter one is refused unchanged.
    start("linear_features", "--resume", str(directory))
    assert "finished before, at step 6" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit):
        start("linear_features", "--resume", str(directory), "--training.duration", "5 steps")
    assert "gives it only 5" in " ".join(capsys.readouterr().out.split())
    assert json.loads((directory / "config.json").read_text()) == after


def test_a_training_of_no_steps_has_a_table_and_figures(start, tmp_path, capsys):
    nothing = (*SMOKE, "--training.duration", "0 steps", "--data.validation", "none")
    start("mlp_fashion_mnist", *nothing, "--loss", "softmax")
    shown = " ".join(capsys.readouterr().out.split())
    assert "note: no figure curves: nothing to draw" in shown and "final" in shown
    directory = tmp_path / "mlp_fashion_mnist" / "one"
    assert {path.stem for path in (directory / "figures").iterdir()} == {"confusion", "mistakes"}
    assert json.loads((directory / "summary.json").read_text())["step"] == 0
    assert (directory / "checkpoints" / "0").is_dir()


def test_a_stage_of_no_steps_is_left_out(monkeypatch):
    def stages(head_duration: str):
        config = dataclasses.replace(
            finetune.SMOKE, init="weights", model="lenet5", head_duration=head_duration
        )
        return finetune.build(config)

    model = create_model("lenet5", num_classes=10)
    source = Network(model, {}, Preprocessing(28, (28, 28), (0.5,), (0.2,)), (), "")
    monkeypatch.setattr(finetune, "_source", lambda config, num_classes: source)
    assert list(stages("4 steps")) == ["head", "all"]
    assert list(stages("0steps")) == ["all"]


def test_config_json_says_what_really_ran():
    dataset = load_dataset(DataConfig(name="digits"), default="digits")
    config = dataclasses.replace(resnet_cifar.FAST, depth=8)
    stand_in = dataclasses.replace(dataset, stand_in=True)
    adapted, _ = resnet_cifar.for_stand_in(config, stand_in)
    ran = settings(resnet_cifar.build(adapted, dataset))
    assert ran["training"]["batch_size"] == 32 and ran["optimizer"]["learning_rate"] == 0.1
    assert ran["control"]["restore_best"] == "auto"


@pytest.mark.parametrize("name", NAMES)
def test_early_stopping_reaches_every_experiment(name):
    module = importlib.import_module(f"experiments.{name}")
    control = dataclasses.replace(module.SMOKE.control, stop_patience=7)
    built = module.build(dataclasses.replace(module.SMOKE, control=control))
    members = built.values() if isinstance(built, dict) else [built]
    patience = [one.control.stop_patience for one in members]
    if name == "regularization":
        # It is one of the methods that are compared.
        assert {0, 7} == set(patience)
    else:
        assert set(patience) == {7}


def test_a_profile_leaves_a_trace(start, tmp_path):
    start("resnet_cifar", *SHORT, "--profile")
    assert list((tmp_path / "resnet_cifar" / "one" / "profile").rglob("*.xplane.pb"))


def test_tensorboard_without_its_extra(start, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(SystemExit) as exit:
        start("resnet_cifar", *SHORT, "--tensorboard")
    assert exit.value.code == 2
    assert "pip install 'cnn-jax[tensorboard]'" in capsys.readouterr().out


def test_the_list_names_every_experiment_with_its_claim(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    main()
    shown = capsys.readouterr().out
    for name, claim in experiments().items():
        assert name in shown and claim in shown


def flags(config: type, prefix: str = "") -> list[str]:
    """The command-line flags of a dataclass, as tyro names them."""
    names, hints = [], typing.get_type_hints(config, include_extras=True)
    for field in dataclasses.fields(config):
        if field.default_factory is not dataclasses.MISSING and dataclasses.is_dataclass(
            value := field.default_factory()
        ):
            marks = getattr(hints[field.name], "__metadata__", ())
            omitted = tyro.conf.OmitArgPrefixes in marks
            names += flags(type(value), prefix if omitted else f"{prefix}{field.name}.")
        else:
            names.append(f"--{prefix}{field.name}".replace("_", "-"))
    return names


@pytest.mark.parametrize("name", NAMES)
def test_help_explains_every_flag(start, capsys, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as exit:
        start(name, "--help")
    assert not exit.value.code
    shown = capsys.readouterr().out
    module = importlib.import_module(f"experiments.{name}")
    for flag in [*flags(module.Config), *flags(RunOptions)]:
        # A boolean is shown as --flag, --no-flag.
        assert flag in shown, flag
    assert "Decides initialization" in shown


@pytest.mark.parametrize("name", TYPICAL)
def test_a_recipe_gives_defaults_that_flags_change(name):
    module = importlib.import_module(f"experiments.{name}")

    def parsed(*argv: str):
        return parse(
            module.Config,
            prog="",
            description="",
            recipes=module.RECIPES,
            smoke=module.SMOKE,
            argv=argv,
        )[0]

    assert parsed() == module.FAST
    assert parsed("--recipe", "paper") == module.PAPER
    changed = parsed("--training.batch-size", "64", "--recipe=paper")
    training = dataclasses.replace(module.PAPER.training, batch_size=64)
    assert changed == dataclasses.replace(module.PAPER, training=training)
