"""What a run tells people: a progress bar, and lines for a terminal or a log file."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from cnn_jax.training.metrics_file import MetricsFile
from cnn_jax.training.plan import Plan
from cnn_jax.training.program import Metrics, Sums

LONG_RUN_MINUTES = 10
"""Longer runs are announced with an estimate."""


class RunLog:
    """Observer of the loop: writes rows, moves the bar.

    Args:
        metrics_file: where rows go.
        console: where a person looks; None is silent (other processes of a job).
        title: experiment and data set, shown above the bar.
        plan: length of the run and of an epoch.
        first: step that the run goes on from; None: it starts anew.
        counted: what rates count.
        stopped: whether it had stopped early there.
        training_metrics: the metrics of the sums of a training row.
        writer: also gets every row, as ``writer(step, {tag: value})`` (TensorBoard).
        notes: lines to begin with.
        remark: see `Program`; told where it begins.
    """

    def __init__(
        self,
        metrics_file: MetricsFile,
        console: Console | None,
        *,
        title: str,
        plan: Plan,
        first: int | None,
        training_metrics: Callable[[Sums], Metrics],
        counted: str = "examples",
        stopped: bool = False,
        writer: Callable[[int, dict[str, float]], None] | None = None,
        notes: Sequence[str] = (),
        remark: Callable[[Metrics], str] = lambda metrics: "",
    ) -> None:
        self._notes, self._remark, self._remarked = notes, remark, False
        self._file, self._console, self._title = metrics_file, console, title
        self._first, self._finished = first, first is not None and (stopped or first >= plan.total)
        self._plan, self._training_metrics, self._writer = plan, training_metrics, writer
        self._counted, self._rate, self._loss, self._chunks = counted, "", "", 0
        self._bar = None
        if console is not None and console.is_terminal and not self._finished:
            self._bar = _TitledProgress(
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
                escape(title), total=plan.total, completed=first or 0, rate="compiling", loss=""
            )

    def __enter__(self) -> "RunLog":
        for text in self._notes:
            self._say(f"note: {text}")
        if self._finished:
            self._say(
                f"{self._title}: finished before, at step {self._first:,}; --overwrite trains anew"
            )
        elif self._first is not None:
            self._say(f"{self._title}: goes on from step {self._first:,} of {self._plan.total:,}")
        elif self._bar is None:
            self._say(self._title)
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def chunk(self, step: int, sums: Sums, examples_per_second: float) -> None:
        """Move the bar."""
        self._rate = f"{examples_per_second:,.0f} {self._counted}/s"
        self._loss = f"loss {float(sums['loss']) / max(float(sums['weight']), 1e-30):.3f}"
        self._chunks += 1
        if self._console is not None and self._chunks == 4:
            self._estimate(step, examples_per_second * float(sums["steps"] / sums["examples"]))
        if self._bar:
            self._bar.update(self._bar_task, completed=step, rate=self._rate, loss=self._loss)

    def _estimate(self, step: int, steps_per_second: float) -> None:
        """Tell of a long run before much of it is spent."""
        minutes = (self._plan.total - step) / steps_per_second / 60
        if minutes > LONG_RUN_MINUTES:
            self._say(
                f"about {minutes:,.0f} minutes to go at {self._rate}; it can be stopped and "
                "continued at any time"
            )

    def train(self, step: int, sums: Sums) -> None:
        """Write a training row: means over the steps since the last one."""
        metrics = self._training_metrics(sums)
        self._write(step, "train", metrics)
        text = self._remark(metrics)
        if text and not self._remarked:
            self._say(f"note: at step {step:,} {text}")
        self._remarked = bool(text)

    def validation(self, step: int, metrics: Metrics) -> None:
        """Write a validation row, and a line for people."""
        self._write(step, "validation", metrics)
        # Details have a slash in their name, as accuracy/0.001 of one of several rates.
        shown = [f"{name} {value:.4f}" for name, value in metrics.items() if "/" not in name]
        total = str(self._plan.total)
        parts = [f"step {step:>{len(total)}}/{total}"]
        # There is none before the first step.
        parts += [f"train {self._loss}"] if self._loss else []
        parts += [f"validation {'  '.join(shown)}"]
        self._say("  ".join(parts))

    def _write(self, step: int, split: str, metrics: Metrics) -> None:
        epoch = round(step / self._plan.steps_per_epoch, 4)
        row: dict[str, Any] = {"step": step, "epoch": epoch, "split": split, **metrics}
        self._file.append(row)
        if self._writer:
            self._writer(step, {f"{split}/{name}": value for name, value in metrics.items()})

    def _say(self, text: str) -> None:
        if self._console is not None:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)


class _TitledProgress(Progress):
    """A progress bar with its title in a line of its own, so that both fit 80 columns."""

    def get_renderables(self) -> Iterable[RenderableType]:
        for task in self.tasks:
            yield Text.from_markup(task.description, overflow="ellipsis")
        yield self.make_tasks_table(self.tasks)
