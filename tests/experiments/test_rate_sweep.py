"""--sweep.learning-rate on the command line: of any experiment that is one run."""

import json

import pytest

from cnn_jax import load_run
from cnn_jax.training import SweepConfig, read_metrics
from experiments.tools.command_line import RunOptions, parse
from experiments.tools.run_directory import load_rates

SHORT = ("--smoke", "--name", "one", "--training.duration", "4 steps")
RATES = ("--sweep.learning-rate", "1e-3", "1e-1")


def test_an_experiment_of_one_run_trains_with_all_rates(start, tmp_path, capsys):
    start("learning_rates", *SHORT, *RATES)
    directory = tmp_path / "learning_rates" / "one"
    shown = capsys.readouterr().out
    assert "chosen" in shown and "0.001" in shown
    assert load_rates(directory) == (1e-3, 1e-1)
    summary = json.loads((directory / "summary.json").read_text())
    assert [lane["learning_rate"] for lane in summary["rates"]] == [1e-3, 1e-1]
    best = max(summary["rates"], key=lambda lane: lane["validation"]["accuracy"])
    assert summary["learning_rate"] == best["learning_rate"]
    assert summary["validation"] == best["validation"]
    assert summary["chosen_by"] == "validation accuracy" and "test" in summary
    joint = read_metrics(directory / "rates" / "metrics.csv")
    assert {"loss/0.001", "loss/0.1"} <= joint[0].keys()
    # Beside the joint training lies what an ordinary run with the chosen rate leaves.
    rows = read_metrics(directory / "metrics.csv")
    rate = f"{summary['learning_rate']:g}"
    assert [row["loss"] for row in rows] == [row[f"loss/{rate}"] for row in joint]
    network = load_run(directory)
    assert network.variables["params"]["head"]["kernel"].ndim == 2
    assert list((directory / "checkpoints").glob("4"))
    assert {path.stem for path in (directory / "figures").iterdir()} >= {"learning_rates", "curves"}

    # The directory is a sweep's: other rates, or none, are another run.
    for other in (("--sweep.learning-rate", "1e-3", "1e-2"), ("--sweep.learning-rate",)):
        with pytest.raises(SystemExit) as exit:
            start("learning_rates", *SHORT, *other)
        assert exit.value.code == 2
        assert "sweep: there [0.001, 0.1]" in capsys.readouterr().out

    # --resume knows the rates.
    before = (directory / "metrics.csv").read_bytes()
    start("learning_rates", "--resume", str(directory))
    assert (directory / "metrics.csv").read_bytes() == before


def test_without_rates_it_is_an_ordinary_run(start, tmp_path):
    start("learning_rates", *SHORT, "--sweep.learning-rate")
    directory = tmp_path / "learning_rates" / "one"
    assert load_rates(directory) == ()
    assert "loss" in read_metrics(directory / "metrics.csv")[0]


def test_a_study_and_rates_that_make_no_sense_are_refused(start, tmp_path, capsys):
    for experiment, flags, message in (
        ("mlp_regression", RATES, "is for one run, but this configuration has 4: wave-2"),
        ("learning_rates", ("--sweep.learning-rate", "0.1", "0"), "must be more than 0, got 0.0"),
        ("learning_rates", ("--sweep.learning-rate", "0.1", "0.1"), "must differ"),
    ):
        with pytest.raises(SystemExit) as exit:
            start(experiment, *SHORT, *flags)
        assert exit.value.code == 2
        # What a value cannot be, tyro tells in a box on stderr.
        shown = "".join(capsys.readouterr()).replace("│", " ").replace("|", " ")
        assert message in " ".join(shown.split())
    assert not list(tmp_path.iterdir())


def test_an_experiment_has_its_own_rates_where_none_are_given():
    from experiments import learning_rates as module

    def swept(*argv: str) -> tuple[float, ...]:
        _, options = parse(
            module.Config,
            prog="",
            description="",
            recipes={},
            smoke=module.SMOKE,
            options=RunOptions(sweep=module.RATES),
            argv=argv,
        )
        return options.sweep.learning_rate

    assert swept() == module.RATES.learning_rate
    assert swept(*RATES) == (1e-3, 1e-1)
    assert SweepConfig().learning_rate == swept("--sweep.learning-rate") == ()
