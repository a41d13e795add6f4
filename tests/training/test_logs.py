"""metrics.csv, and what survives a kill of it."""

import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from cnn_jax.durable import DamagedFile
from cnn_jax.training import MetricsFile, Plan, RunLog, read_metrics

METRICS = ("loss", "accuracy", "learning_rate", "grad_norm")
EMPTY = {"loss": "", "accuracy": "", "learning_rate": "", "grad_norm": ""}


def row(step: int, split: str = "train", **values: float) -> dict:
    return {"step": step, "epoch": step / 10, "split": split} | EMPTY | values


def test_rows_are_on_disk_at_once_and_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    file = MetricsFile(path, METRICS)
    rows = [
        row(5, loss=0.1 + 0.2, accuracy=1 / 3, learning_rate=0.1),
        row(10, "validation", loss=2.0),
    ]
    for number, one in enumerate(rows, 1):
        file.append(one)
        assert read_metrics(path) == rows[:number] == file.rows
    header = path.read_text().splitlines()[0]
    assert header == "step,epoch,split,loss,accuracy,learning_rate,grad_norm"


def test_rows_after_the_checkpoint_are_dropped_on_resume(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    file = MetricsFile(path, METRICS)
    for step in (5, 10, 15, 20):
        file.append(row(step, loss=1.0 / step))
    before = path.read_bytes().splitlines(keepends=True)
    resumed = MetricsFile(path, METRICS, record=b"".join(before[:3]).decode())
    assert [one["step"] for one in resumed.rows] == [5, 10]
    assert path.read_bytes() == b"".join(before[:3])
    resumed.append(row(15, loss=1.0 / 15))
    assert path.read_bytes() == b"".join(before[:4])
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.csv"]


@pytest.mark.parametrize("cut", range(1, 24))
def test_a_line_cut_short_by_a_kill_is_left_out(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "metrics.csv"
    file = MetricsFile(path, METRICS)
    file.append(row(5, loss=0.5))
    whole = path.read_bytes()
    file.append(row(10, loss=0.25, accuracy=0.75, learning_rate=0.125, grad_norm=0.0625))
    text = path.read_bytes()
    path.write_bytes(text[: len(whole) + cut])
    # The checkpoint is of a step before the line, or the row would have been whole.
    assert read_metrics(path) == [row(5, loss=0.5)]
    resumed = MetricsFile(path, METRICS, record=whole.decode())
    assert resumed.rows == [row(5, loss=0.5)] and resumed.notes == []
    assert path.read_bytes() == whole


def test_other_processes_have_the_rows_and_write_none(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    first = MetricsFile(path, METRICS)
    first.append(row(5, loss=1.0))
    record = first.text()
    first.append(row(10, loss=1.0))
    text = path.read_bytes()
    other = MetricsFile(path, METRICS, record=record, writes=False)
    other.append(row(10, loss=2.0))
    assert other.rows == [row(5, loss=1.0), row(10, loss=2.0)]
    assert path.read_bytes() == text
    # Without a checkpoint the rows of an earlier start are not the run's.
    assert MetricsFile(path, METRICS, writes=False).rows == []


@pytest.mark.parametrize(
    "damage", ["removed", "empty", "zeros", "binary", "a row", "directory", "pipe"]
)
def test_a_damaged_file_is_set_aside_and_written_anew(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "metrics.csv"
    file = MetricsFile(path, METRICS)
    for step in (5, 10):
        file.append(row(step, loss=1.0 / step))
    whole, record = path.read_bytes(), file.text()
    path.unlink()
    contents = {"empty": b"", "zeros": bytes(80), "binary": b"\xff\x80", "a row": whole[:-9]}
    if damage == "directory":
        path.mkdir()
    elif damage == "pipe":
        os.mkfifo(path)
    elif damage in contents:
        path.write_bytes(contents[damage])
    if damage in ("empty", "zeros", "binary", "directory", "pipe"):
        with pytest.raises(DamagedFile, match="cannot read .*metrics.csv"):
            read_metrics(path)
    resumed = MetricsFile(path, METRICS, record=record)
    assert path.read_bytes() == whole and resumed.rows == file.rows
    (note,) = resumed.notes
    assert "its 2 rows are written anew from the checkpoint" in note
    assert (tmp_path / "metrics.csv.damaged").exists() == (damage != "removed")


def test_rows_of_the_loop(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.csv", METRICS)
    written = []
    log = RunLog(
        file,
        None,
        title="test",
        plan=Plan(total=20, log_every=2, evaluate_every=2, save_every=2, steps_per_epoch=4),
        first=0,
        training_metrics=lambda sums: {"loss": sums["loss"] / sums["weight"], "accuracy": 0.5},
        writer=lambda step, values: written.append((step, values)),
    )
    sums = {"loss": 6.0, "weight": 4.0, "examples": 4.0, "steps": 2.0}
    with log:
        log.chunk(2, sums, 100.0)
        log.train(2, sums)
        log.validation(2, {"loss": 0.75, "accuracy": 0.25})
    train = {"loss": 1.5, "accuracy": 0.5}
    validation = row(2, "validation", loss=0.75, accuracy=0.25)
    assert file.rows == [one | {"epoch": 0.5} for one in (row(2, **train), validation)]
    assert read_metrics(file.path) == file.rows
    assert written[0] == (2, {f"train/{name}": value for name, value in train.items()})
    assert written[1] == (2, {"validation/loss": 0.75, "validation/accuracy": 0.25})


def test_the_progress_fits_80_columns(tmp_path: Path) -> None:
    terminal = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    log = RunLog(
        MetricsFile(tmp_path / "metrics.csv", METRICS),
        terminal,
        title="resnet_cifar: handwritten digits 8x8 [in place of CIFAR-10]",
        plan=Plan(total=64_000, log_every=1, evaluate_every=1, save_every=1),
        first=None,
        training_metrics=lambda sums: {},
    )
    sums = {"loss": 25.0, "weight": 2.0, "examples": 2.0, "steps": 1.0}
    with log:
        log.chunk(31_000, sums, 123_456.0)
        log.validation(31_000, {"loss": 0.75, "accuracy": 0.25})
        shown = Console(file=io.StringIO(), width=80)
        shown.print(*log._bar.get_renderables(), sep="\n")
    title, bar = shown.file.getvalue().splitlines()
    assert title == "resnet_cifar: handwritten digits 8x8 [in place of CIFAR-10]"
    for part in ("━", "48%", "123,456 examples/s", "loss 12.500", "left"):
        assert part in bar and "…" not in bar
    line = "step 31000/64000  train loss 12.500  validation loss 0.7500  accuracy 0.2500"
    assert line in terminal.file.getvalue()
