"""What a user can get wrong is told in one clear message, without a traceback, with status 2."""

import errno
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.experimental import multihost_utils
from matplotlib.figure import Figure

from cnn_jax.data import DataConfig
from cnn_jax.durable import read_record, write_kept_record
from cnn_jax.errors import UserError
from cnn_jax.training import Checkpoints, Runner
from experiments.tools.console import standard_console
from experiments.tools.failed_writes import tell_once
from experiments.tools.messages import user_errors
from experiments.tools.run_directory import default_name, identity

SMOKE = ("--smoke", "--data.name", "digits")
# Fails when the training begins, so that only the run's directory is made.
NOT_TO_START = ("--training.batch-size", "30")


@dataclass(frozen=True)
class Config:
    data: DataConfig


@pytest.fixture
def error(start, capsys, no_shape_hook) -> Callable[..., str]:
    """`error(*flags)` is what resnet_cifar tells of these flags, its line breaks taken out."""

    def error(*flags: str, experiment: str = "resnet_cifar", workdir: Path | None = None) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit:
            start(experiment, *flags, **({"workdir": workdir} if workdir else {}))
        assert exit.value.code == 2
        output = capsys.readouterr()
        text = output.out + output.err
        assert "Traceback" not in text
        return " ".join(text.split("error:", maxsplit=1)[-1].split())

    return error


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (("--recipe", "nothing"), ["'nothing'", "('fast', 'paper')"]),
        (("--training.duration", "10 parsecs"), ["'10 parsecs'", "steps, epochs, examples"]),
        (("--depth", "21"), ["depth 21", "6n + 2", "20"]),
        (("--training.batch-size", "30"), ["30", "8 devices", "24 or 32"]),
        (("--training.batch-size", "4096"), ["4096", "1259 training examples"]),
        (("--data.name", "digit"), ["'digit'", "did you mean digits"]),
        (("--optimizer.schedule", "step"), ["milestones"]),
    ],
)
def test_a_flag_that_cannot_be_used(error, flags, parts):
    message = error(*SMOKE, *flags)
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("place", "part"),
    [
        (0, "--data.name"),
        (1, "install the same on all of their machines"),
        (2, "give all of them CNN_JAX_ONEDNN=0"),
    ],
)
def test_processes_of_a_job_that_are_not_alike(place, part, error, monkeypatch):
    def gathered(mine: np.ndarray) -> np.ndarray:
        other = mine.copy()
        other[place] ^= 1
        return np.stack([mine, other])

    monkeypatch.setattr(multihost_utils, "process_allgather", gathered)
    assert part in error(*SMOKE)


def test_an_unknown_option_is_told_with_what_is_like_it(start, capsys):
    with pytest.raises(SystemExit) as exit:
        start("resnet_cifar", "--dept", "20")
    assert exit.value.code == 2
    message = capsys.readouterr().err
    assert "--dept" in message and "--depth" in message


def test_a_name_that_another_configuration_has(error):
    error(*SMOKE, *NOT_TO_START, "--name", "mine")
    message = error(*SMOKE, *NOT_TO_START, "--name", "mine", "--depth", "14")
    assert "config.depth: there 8, asked 14" in message
    assert "--overwrite" in message
    assert "seed: there 0, asked 1" in error(*SMOKE, *NOT_TO_START, "--name", "mine", "--seed", "1")


def test_overwrite_leaves_what_is_no_run_alone(error, tmp_path):
    (tmp_path / "resnet_cifar" / "thesis").mkdir(parents=True)
    (tmp_path / "resnet_cifar" / "thesis" / "chapter.txt").write_text("years of work")
    message = error(*SMOKE, "--name", "thesis", "--overwrite")
    assert "holds no run" in message
    assert (tmp_path / "resnet_cifar" / "thesis" / "chapter.txt").exists()


@pytest.mark.parametrize("config", ["{}", "[]", '{"experiment": "mine"}'])
def test_overwrite_leaves_a_foreign_config_alone(error, tmp_path, config):
    foreign = tmp_path / "resnet_cifar" / "thesis"
    (foreign / "figures").mkdir(parents=True)
    (foreign / "config.json").write_text(config)
    assert "holds no run" in error(*SMOKE, "--name", "thesis", "--overwrite")
    assert sorted(path.name for path in foreign.iterdir()) == ["config.json", "figures"]


def test_overwrite_removes_what_the_run_wrote_and_nothing_else(error, tmp_path):
    outside, run = tmp_path / "resnet_cifar" / "outside", tmp_path / "resnet_cifar" / "mine"
    error(*SMOKE, *NOT_TO_START, "--name", "mine")
    saved = read_record(run / "config.json")
    # A member is a name; a path in its place would lead out of the run.
    saved["networks"] |= {"member": saved["networks"][""], "../outside": saved["networks"][""]}
    write_kept_record(run / "config.json", saved)
    for folder in (run, run / "member", run / "rates", outside):
        (folder / "checkpoints" / "3").mkdir(parents=True)
        (folder / "metrics.csv").write_text("step")
    (run / "notes.txt").write_text("mine")
    error(*SMOKE, *NOT_TO_START, "--name", "mine", "--overwrite")
    assert sorted(path.name for path in run.iterdir()) == [
        "config.copy.json",
        "config.json",
        "notes.txt",
    ]
    assert set(read_record(run / "config.json")["networks"]) == {""}
    assert (outside / "checkpoints" / "3").is_dir() and (outside / "metrics.csv").exists()


def test_a_work_directory_that_is_a_pattern(error, tmp_path):
    message = error(*SMOKE, workdir=tmp_path / "runs[1]")
    assert "its name has [ and ]" in message and "choose a directory" in message
    assert not (tmp_path / "runs[1]").exists()


def test_resume_of_what_cannot_be_resumed(error, tmp_path):
    assert "there is no run in" in error("--resume", str(tmp_path / "nowhere"))

    error(*SMOKE, *NOT_TO_START, "--name", "other", experiment="plain_vs_resnet")
    other = tmp_path / "plain_vs_resnet" / "other"
    message = error("--resume", str(other))
    assert "not of this experiment" in message and "depths" in message

    error(*SMOKE, *NOT_TO_START, "--name", "mine")
    message = error("--resume", str(tmp_path / "resnet_cifar" / "mine"), "--depth", "14")
    assert "depth: there 8, asked 14" in message and "Leave these flags out" in message
    # Only what was asked for and differs is listed.
    assert message.count("there") == message.count("asked") == 1
    message = error("--resume", str(tmp_path / "resnet_cifar" / "mine"), "--seed", "7")
    assert "seed: there 0, asked 7" in message
    message = error("--resume", str(tmp_path / "resnet_cifar" / "mine"), "--overwrite")
    assert "--overwrite would delete it" in message
    path = tmp_path / "resnet_cifar" / "mine" / "config.json"
    write_kept_record(path, read_record(path) | {"seed": -1})
    message = error("--resume", str(path.parent))
    assert "config.json holds a value that is refused today" in message and "got -1" in message
    assert (tmp_path / "resnet_cifar" / "mine" / "config.json").exists()


def test_a_work_directory_that_cannot_be_written(error, tmp_path):
    (tmp_path / "file").write_text("")
    message = error(*SMOKE, workdir=tmp_path / "file" / "runs")
    assert "cannot write to the run directory" in message and "--workdir" in message


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system too small for a checkpoint."""
    place = tmp_path / "small"
    place.mkdir()
    if sys.platform != "linux" or os.geteuid():
        pytest.skip("only root may mount a file system")
    command = ["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(place)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a file system cannot be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


ONE_STEP = ("--training.duration", "1 step", "--training.log-every", "1 step")


@pytest.mark.parametrize(
    "failure",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        ValueError("RESOURCE_EXHAUSTED: Failed to write 9 bytes: No space left on device"),
    ],
)
def test_a_full_disk_in_both_forms_that_it_is_reported_in(error, failure, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(ocp.AsyncCheckpointer, "save", full)
    message = error(*SMOKE, *ONE_STEP)
    assert message.count("the disk is full") == 1
    assert "No space left on device" in message and "saved before is intact" in message


def test_a_figure_that_the_disk_has_no_room_for_is_named(error, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as a write to an open file

    monkeypatch.setattr(Figure, "savefig", full)
    message = error(*SMOKE, *ONE_STEP, "--name", "full")
    figures = tmp_path / "resnet_cifar" / "full" / "figures"
    assert f"the disk is full: cannot write {figures}/" in message


@pytest.mark.parametrize(
    "failure",
    [
        MemoryError("Unable to allocate 29.1 TiB for an array"),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 32000000000000 bytes."),
    ],
)
def test_out_of_memory(error, failure, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(Runner, "advance", full)
    message = error(*SMOKE, *ONE_STEP)
    told = str(failure).removeprefix("RESOURCE_EXHAUSTED: ").removesuffix(".")
    assert message.startswith(f"out of memory: {told}; it takes less with")
    assert "--training.batch-size" in message and "--training.accumulate" in message


def test_a_limit_on_the_size_of_files(error, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise ValueError(f'OUT_OF_RANGE: Error at "/data/9/": {os.strerror(errno.EFBIG)}')

    monkeypatch.setattr(Checkpoints, "save", full)
    message = error(*SMOKE, *ONE_STEP)
    assert "(ulimit -f): cannot write /data/9/: File too large" in message


def test_how_data_are_read_makes_no_other_run(error):
    flags = (*SMOKE, *NOT_TO_START, "--name", "mine", "--depth", "14")
    error(*flags)
    # Claimed again: the error is that of the batch size.
    assert "8 devices" in error(*flags, "--data.skip-unreadable")
    identities = [
        identity("mlp", Config(DataConfig(skip_unreadable=skip, workers=n)), 0, {})
        for skip, n in ((False, 0), (True, 3))
    ]
    assert default_name(identities[0]) == default_name(identities[1])


@pytest.mark.full  # TensorStore tries for two minutes before it gives up
def test_a_full_disk(error, full_disk):
    message = error(*SMOKE, *ONE_STEP, workdir=full_disk)
    assert message.count("the disk is full") == 1 and "No space left on device" in message


def test_warnings_of_orbax_are_shown_and_its_tracebacks_are_not():
    tell_once()
    logger, shown = logging.getLogger("absl"), logging.Handler()
    shown.emit = lambda record: texts.append(record.getMessage())
    texts: list[str] = []
    logger.addHandler(shown)
    try:
        logger.warning("no checkpoint found")
        logger.error("the write failed", exc_info=OSError("full"))
    finally:
        logger.removeHandler(shown)
    assert texts == ["no checkpoint found"]


def test_a_training_that_diverges(error):
    flags = ("--training.duration", "30 steps", "--optimizer.learning-rate", "1e30")
    message = error(*SMOKE, *flags)
    assert "became non-finite at step" in message
    assert "nothing was saved before in" in message
    assert "--optimizer.learning-rate" in message and "--optimizer.clip-norm" in message

    message = error(*SMOKE, *flags, "--training.save-every", "1 step")
    assert "the last good checkpoint is step 1 in" in message


def test_a_checkpoint_of_another_model(start, error, tmp_path):
    deep = ("--training.duration", "1 step", "--depth", "14", "--name", "deep")
    start("resnet_cifar", *SMOKE, "--training.duration", "1 step", "--name", "small")
    start("resnet_cifar", *SMOKE, *deep)
    # Only somebody who moves checkpoints by hand comes here: a run's configuration is checked.
    runs = tmp_path / "resnet_cifar"
    (runs / "deep" / "checkpoints").rename(tmp_path / "away")
    (runs / "small" / "checkpoints").rename(runs / "deep" / "checkpoints")
    message = error(*SMOKE, *deep)
    assert "another model" in message and "nothing was loaded" in message
    assert "trace/body/stage1_block2/conv1/kernel (3, 3, 16, 16)" in message


def test_jax_s_note_about_tracebacks_is_not_told(capsys):
    error = UserError("what is wrong")
    error.add_note("what to do")
    error.add_note("For simplicity, JAX has removed its internal frames from the traceback")
    with pytest.raises(SystemExit), user_errors(standard_console()):
        raise error
    assert capsys.readouterr().out == "error: what is wrong\nwhat to do\n"
