import csv
from pathlib import Path

import pytest
from PIL import Image

from cnn_jax.data import DataConfig
from cnn_jax.training import TrainingConfig
from experiments import __main__ as listing
from experiments.tools.runs import main, overview
from experiments.tools.saved_runs import read_runs
from tests.experiments.small_run import finish, make_run


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A finished run, one that was stopped, and a folder that is no run."""
    root = tmp_path_factory.mktemp("work") / "runs"
    digits = DataConfig(name="digits")
    make_run(root / "resnet_cifar" / "aaaa1111", digits)
    finish(root / "resnet_cifar" / "aaaa1111", 0.75)
    longer = TrainingConfig(duration="20 epochs", batch_size=16)
    make_run(root / "resnet_cifar" / "bbbb2222", digits, seed=4, training=longer)
    (root / "resnet_cifar" / "cccc3333").mkdir()
    (root / "resnet_cifar" / "cccc3333" / "config.json").write_text("{}")
    return root


def printed(capsys, *words):
    main(list(words))
    return capsys.readouterr().out


def test_all_runs_are_listed_with_what_they_were(workdir, capsys):
    out = printed(capsys, "--workdir", str(workdir))
    assert "│ resnet_cifar/aaaa1111 │" in out and "cccc3333/config.json is not one of a run" in out
    first, second = (read_runs(workdir / "resnet_cifar" / name)[0] for name in NAMES)
    rows = zip(*(column.cells for column in overview([first, second], "").columns), strict=True)
    finished, stopped = sorted(rows)
    date = f"{first.date:%Y-%m-%d %H:%M}"
    assert finished == (
        "resnet_cifar/aaaa1111", "mlp", "handwritten digits 8x8", "data.name=digits",
        "test accuracy 75.00%", "finished, 3 steps", date,
    )  # fmt: skip
    changed = ["data.name=digits", "training.duration=20 epochs", "training.batch_size=16"]
    assert stopped[3].split("\n") == [*changed, "seed=4"]
    assert stopped[4] == "" and stopped[5] == "interrupted, 3 steps"


NAMES = ("aaaa1111", "bbbb2222")


def read(folder):
    with (folder / "comparison.csv").open(newline="") as file:
        return {row.pop(""): row for row in csv.DictReader(file)}


def test_chosen_runs_are_compared(workdir, tmp_path, capsys):
    finish(workdir / "resnet_cifar" / "bbbb2222", 0.5)
    out = printed(
        capsys, "aaaa1111", "resnet_cifar/bbbb2222", "--workdir", str(workdir),
        "--output", str(tmp_path / "out"),
    )  # fmt: skip
    first, second = "resnet_cifar/aaaa1111", "resnet_cifar/bbbb2222"
    assert first in out and "training.batch_size" in out
    assert read(tmp_path / "out") == {
        "seed": {first: "0", second: "4"},
        "training.duration": {first: "10 epochs", second: "20 epochs"},
        "training.batch_size": {first: "128", second: "16"},
        "test loss": {first: "0.5000", second: "0.5000"},
        "test accuracy": {first: "75.00%", second: "50.00%"},
    }
    with Image.open(tmp_path / "out" / "curves.png") as figure:
        assert figure.size[0] > 500


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["aaaa1112"], "there is no run 'aaaa1112' in {workdir}; did you mean aaaa1111"),
        (["aaaa1111"], "one run cannot be compared"),
        (["aaaa1111", "cccc3333"], "cccc3333/config.json is not one of a run"),
        (["--workdir", "nowhere"], "there are no runs in nowhere; name their folder with --work"),
    ],
)
def test_what_is_wrong_ends_with_its_message(workdir, words, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--workdir", str(workdir), *words])
    assert stop.value.code == 2
    assert message.format(workdir=workdir) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("resnet_cifr", "did you mean python -m experiments.resnet_cifar"),
        ("predct", "did you mean python -m experiments.predict"),
        ("resnet_cifar", "the name belongs to the command: python -m experiments.resnet_cifar"),
        ("xyz", "there is no experiment or tool 'xyz'; python -m experiments lists all"),
    ],
)
def test_a_name_that_is_no_command_is_given_the_right_one(word, message, capsys):
    with pytest.raises(SystemExit) as stop:
        listing.main([word])
    assert stop.value.code == 2
    assert message in capsys.readouterr().out


def test_the_tool_is_listed():
    assert listing.tools()["runs"].startswith("what is below runs/")
    assert Path(listing.__file__).with_name("runs.py").exists()
