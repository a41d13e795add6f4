"""What a run tells: metrics.csv, a progress bar, lines for a terminal or a log file."""

import csv
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from cnn_jax.errors import ConfigError

Row = dict[str, Any]

LONG_RUN_MINUTES = 10
"""Runs longer than this are announced with an estimate."""


class MetricsFile:
    """``metrics.csv``: one row a training portion and one an evaluation.

    It holds no times, so the file of a run that was killed and resumed is equal to that of
    the uninterrupted one.

    Args:
        path: the file; None keeps the rows in memory only (other processes of a job).
        metrics: names of the task's metrics.
        layers: layers whose gradient's norm has a column of its own.
        resume_step: rows after this step are dropped: the resumed run makes them again.
    """

    def __init__(
        self,
        path: Path | None,
        metrics: Sequence[str],
        *,
        layers: Sequence[str] = (),
        resume_step: int = 0,
    ) -> None:
        self.columns = ["step", "epoch", "split", *metrics, "learning_rate", "grad_norm"]
        self.columns += [f"grad_norm/{layer}" for layer in layers]
        self.path = path
        self.rows: list[Row] = []
        if path is not None and path.exists():
            self.rows = [row for row in read_metrics(path) if row["step"] <= resume_step]
        if path is None:
            return
        # Rewritten beside and renamed, so that a kill here loses nothing.
        partial = path.with_suffix(".partial")
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(self.rows)
        os.replace(partial, path)

    def append(self, row: Row) -> None:
        """Add a row, on disk at once."""
        self.rows.append(row)
        if self.path is not None:
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self.columns).writerow(row)


def read_metrics(path: Path) -> list[Row]:
    """The rows of a metrics.csv; a last line cut short by a kill is left out."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [_parsed(row) for row in rows if None not in row.values() and row["step"]]


def _parsed(row: dict[str, str]) -> Row:
    def value(name: str, text: str) -> Any:
        if name == "split" or text == "":
            return text
        return int(text) if name == "step" else float(text)

    return {name: value(name, text) for name, text in row.items()}


class RunLog:
    """Observer of the loop: writes rows, moves the bar.

    Args:
        metrics_file: where rows go.
        console: where a person looks; None is silent (other processes of a job).
        title: experiment and data set, shown at the bar.
        total: steps of the run.
        first: step that this process starts from.
        steps_per_epoch: turns steps into epochs.
        summarize: the task's metrics of sums.
        learning_rate: the schedule, before any decrease on plateau.
        writer: also gets every row, as ``writer(step, {tag: value})`` (TensorBoard).
    """

    def __init__(
        self,
        metrics_file: MetricsFile,
        console: Console | None,
        *,
        title: str,
        total: int,
        first: int,
        steps_per_epoch: int,
        summarize: Callable[[dict[str, Any]], dict[str, float]],
        learning_rate: Callable[[Any], Any],
        writer: Callable[[int, dict[str, float]], None] | None = None,
    ) -> None:
        self._file, self._console, self._title = metrics_file, console, title
        self._steps_per_epoch, self._summarize = steps_per_epoch, summarize
        self._learning_rate, self._total, self._writer = learning_rate, total, writer
        self._recent, self._train, self._chunks = "", "", 0
        self._bar = None
        if console is not None and console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                TaskProgressColumn(),
                TextColumn("{task.fields[rate]}"),
                TextColumn("{task.fields[loss]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=console,
            )
            self._bar_task = self._bar.add_task(
                title, total=total, completed=first, rate="compiling", loss=""
            )

    def __enter__(self) -> "RunLog":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def chunk(self, step: int, sums: dict[str, Any], examples_per_second: float) -> None:
        """Move the bar."""
        self._recent = f"{examples_per_second:,.0f} examples/s"
        self._train = f"loss {self._summarize(sums)['loss']:.3f}"
        self._chunks += 1
        if self._console is not None and self._chunks == 4:
            self._estimate(step, examples_per_second * float(sums["steps"] / sums["weight"]))
        if self._bar:
            self._bar.update(self._bar_task, completed=step, rate=self._recent, loss=self._train)

    def _estimate(self, step: int, steps_per_second: float) -> None:
        """Tell of a long run before much of it is spent."""
        minutes = (self._total - step) / steps_per_second / 60
        if self._console is not None and minutes > LONG_RUN_MINUTES:
            self._console.print(
                f"about {minutes:,.0f} minutes to go at {self._recent}; it can be stopped and "
                "continued at any time",
                soft_wrap=True,
                highlight=False,
            )

    def train(self, step: int, sums: dict[str, Any], scale: float) -> None:
        """Write a training row: means over the steps since the last one."""
        row = {
            **self._summarize(sums),
            "learning_rate": float(self._learning_rate(step - 1)) * scale,
            "grad_norm": float(sums["grad_norm"] / sums["steps"]),
        }
        for layer, norm in sums.get("layer_grad_norm", {}).items():
            row[f"grad_norm/{layer}"] = float(norm / sums["steps"])
        self._write(step, "train", row)

    def validation(self, step: int, summary: dict[str, float]) -> None:
        """Write a validation row, and a line for people."""
        self._write(step, "validation", summary)
        if self._console is not None:
            values = "  ".join(f"{name} {value:.4f}" for name, value in summary.items())
            epoch = step / self._steps_per_epoch
            self._console.print(
                f"{self._title}  step {step:>6}/{self._total}  epoch {epoch:6.2f}  "
                f"train {self._train}  validation {values}  {self._recent}",
                highlight=False,
                soft_wrap=True,
            )

    def _write(self, step: int, split: str, values: dict[str, float]) -> None:
        row = {"step": step, "epoch": round(step / self._steps_per_epoch, 4), "split": split}
        self._file.append({column: "" for column in self._file.columns} | row | values)
        if self._writer:
            self._writer(step, {f"{split}/{name}": value for name, value in values.items()})


def tensorboard_writer(directory: Path) -> Callable[[int, dict[str, float]], None]:
    """A writer of TensorBoard event files, without TensorFlow.

    Raises:
        ConfigError: the extra is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise ConfigError(
            "--tensorboard needs the extra: pip install 'cnn-jax[tensorboard]'"
        ) from None
    writer = SummaryWriter(str(directory))

    def write(step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return write
