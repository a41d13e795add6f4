"""What a sweep of learning rates tells: every rate's rows in metrics.csv, the best on the bar."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rich.console import Console

from cnn_jax.training.assembly import Parts
from cnn_jax.training.experiment import Task
from cnn_jax.training.lanes import lane_of
from cnn_jax.training.logs import MetricsFile, RunLog

Writer = Callable[[int, dict[str, float]], None]


class SweepLog:
    """Observer of the loop: each lane's rows into one metrics.csv, the best one for a person.

    Args:
        rates: of the lanes.
        metrics_file: where all rows go, with the column ``rate``.
        parts: of the sweep.
        title: shown at the progress bar.
        console: where a person looks; None is silent.
        writer: also gets every row.
        first: step that this process starts from.
    """

    def __init__(
        self,
        rates: Sequence[float],
        metrics_file: MetricsFile,
        parts: Parts,
        title: str,
        console: Console | None,
        writer: Writer | None,
        *,
        first: int,
    ) -> None:
        task = parts.task
        self._task, self._rates = task, rates
        common: dict[str, Any] = {
            "total": parts.plan.total,
            "first": first,
            "steps_per_epoch": parts.steps_per_epoch,
        }
        self.best = RunLog(
            MetricsFile(None, task.metrics),
            console,
            title=f"{title}, best of {len(rates)} rates",
            summarize=task.summarize,
            learning_rate=parts.schedule,
            **common,
        )

        def log_of(rate: float) -> RunLog:
            return RunLog(
                metrics_file,
                None,
                title=title,
                summarize=lambda sums: {"rate": rate, **task.summarize(sums)},
                learning_rate=lambda step: rate * parts.schedule(step),
                writer=_tagged(writer, f"rate {rate:g}") if writer else None,
                **common,
            )

        self._logs = [log_of(rate) for rate in rates]

    def chunk(self, step: int, sums: dict[str, Any], examples_per_second: float) -> None:
        """Move the bar, with the lowest loss."""
        making_steps = np.flatnonzero(sums["steps"])
        if len(making_steps):
            losses = sums["loss"][making_steps] / sums["weight"][making_steps]
            lowest = int(making_steps[np.argmin(losses)])
            self.best.chunk(step, lane_of(sums, lowest), examples_per_second)

    def train(self, step: int, sums: dict[str, Any], scale: list[float]) -> None:
        """Write a training row of each lane that has made a step since the last one."""
        for lane in np.flatnonzero(sums["steps"]).tolist():
            self._logs[lane].train(step, lane_of(sums, lane), scale[lane])

    def validation(self, step: int, summary: dict[str, np.ndarray]) -> None:
        """Write a validation row of each lane that goes on, and a line of the best for people."""
        lanes = {
            lane: {name: float(summary[name][lane]) for name in self._task.metrics}
            for lane in np.flatnonzero(summary["going"]).tolist()
        }
        for lane, values in lanes.items():
            self._logs[lane].validation(step, {"rate": self._rates[lane], **values})
        if lanes:
            best = best_of(
                [values[self._task.best_metric] for values in lanes.values()], self._task
            )
            self.best.validation(step, list(lanes.values())[best or 0])


def _tagged(writer: Writer, tag: str) -> Callable[..., None]:
    def write(step: int, values: dict[str, float]) -> None:
        writer(step, {f"{tag}/{name}": value for name, value in values.items()})

    return write


def best_of(values: Sequence[float], task: Task) -> int | None:
    """Place of the best of a metric's values, or None where none is finite."""
    signed = np.array(values) if task.higher_is_better else -np.array(values)
    if not np.any(np.isfinite(signed)):
        return None
    return int(np.argmax(np.where(np.isfinite(signed), signed, -np.inf)))
