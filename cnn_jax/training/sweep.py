"""A sweep of learning rates: all of them train at once, as one program, and one is chosen."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from cnn_jax.errors import ConfigError
from cnn_jax.training.assembly import SavedRun, assemble
from cnn_jax.training.experiment import Experiment, Result, Task
from cnn_jax.training.lanes import (
    check_memory,
    lane_of,
    memory_of_a_device,
    single,
    stacked,
    swept_eval_step,
    swept_train_step,
)
from cnn_jax.training.logs import MetricsFile, Row
from cnn_jax.training.loop import TrainingDiverged, fit
from cnn_jax.training.parallel import Parallel, is_primary
from cnn_jax.training.signals import stop_signals
from cnn_jax.training.state import TrainState
from cnn_jax.training.sweep_log import SweepLog, best_of
from cnn_jax.training.train import profiled


@dataclass(frozen=True)
class SweepConfig:
    """Learning rates that are trained at once."""

    learning_rate: tuple[float, ...] = ()
    """Train with all of these peak rates at once, in place of --optimizer.learning-rate, and
    choose one by the validation split: 1e-4 1e-3 1e-2."""

    def __post_init__(self) -> None:
        rates = self.learning_rate
        for rate in rates:
            if not (rate > 0 and math.isfinite(rate)):
                raise ConfigError(f"a learning rate of a sweep must be positive, got {rate}")
        if len(set(rates)) < len(rates):
            raise ConfigError(f"the learning rates of a sweep must differ, got {rates}")


@dataclass(frozen=True)
class SweepResult:
    """What a sweep leaves in memory."""

    lanes: list[dict[str, Any]]
    """For each rate its ``learning_rate``, ``step``, ``stopped_early``, ``diverged`` and the
    metrics at its end on ``validation`` (None where it diverged)."""
    chosen: int
    """The lane with the best validation metric at its end."""
    result: Result
    """The chosen lane's, as an ordinary run with this rate leaves it."""
    rows: list[Row]
    """The rows of ``metrics.csv``, whose column ``rate`` tells the lane."""


def sweep(
    experiment: Experiment,
    rates: Sequence[float],
    directory: Path,
    parallel: Parallel,
    *,
    seed: int,
    title: str,
    console: Console | None = None,
    writer: Callable[[int, dict[str, float]], None] | None = None,
    profile: Path | None = None,
) -> SweepResult:
    """Train an experiment with several learning rates at once and choose one of them.

    A lane whose loss or gradient is no longer finite, or that stops early, stays as it is while
    the others go on. The rate is chosen by the validation metric at the end; only the chosen
    one's test split is evaluated.

    Args:
        experiment: what to train; its own learning rate does not count.
        rates: peak learning rates.
        directory: gets ``checkpoints/`` and ``metrics.csv``, of all lanes.
        parallel: how to spread it over the devices.
        seed: decides initialization, order of examples and all other randomness.
        title: shown at the progress bar.
        console: where a person looks; None is silent.
        writer: also gets every row of the metrics, its tags after the rate.
        profile: gets a ``jax.profiler`` trace of the second chunk of steps.

    Raises:
        ValueError: the configuration does not fit the data, the devices or their memory, or there
            is no validation split to choose by.
        CheckpointMismatch: the directory's checkpoint is of another model or number of rates.
        TrainingDiverged: with every rate.
        Interrupted: the sweep was asked to stop, and has saved its state.
    """
    rates = SweepConfig(tuple(rates)).learning_rate
    if not rates:
        raise ConfigError("a sweep needs at least one learning rate")
    if "validation" not in experiment.dataset.splits:
        raise ConfigError(
            f"the rate of a sweep is chosen by the validation split, and {experiment.dataset.title}"
            f" has only {', '.join(experiment.dataset.splits)}"
        )
    parts = assemble(_with_rate(experiment, 1.0), parallel, seed=seed)
    check_memory(parts.state, len(rates), memory_of_a_device())
    task = parts.task
    feed = parts.train_feed(swept_train_step(parts.train_step, rates), seed)
    fresh = stacked(parts.state, len(rates))
    saved = SavedRun(directory / "checkpoints", task, parallel, fresh, feed)
    metrics_file = MetricsFile(
        directory / "metrics.csv" if is_primary() else None,
        ("rate", *task.metrics),
        layers=parts.layers,
        resume_step=saved.first,
    )
    feeds = parts.eval_feeds()
    total = feeds["validation"].total(swept_eval_step(parts.eval_step))

    def validate(state: TrainState) -> dict[str, np.ndarray]:
        """Every metric of each lane, and which lanes go on."""
        totals = total(state)
        lanes = [task.summarize(lane_of(totals, i)) for i in range(len(rates))]
        metrics = {name: np.array([lane[name] for lane in lanes]) for name in task.metrics}
        return metrics | {"going": ~np.asarray(state.control.stopped)}

    log = SweepLog(rates, metrics_file, parts, title, console, writer, first=saved.first)
    try:
        with log.best, stop_signals() as stop_requested:
            state = fit(
                saved.state,
                saved.sums,
                plan=parts.plan,
                control=experiment.control,
                advance=profiled(feed.advance, profile) if profile else feed.advance,
                evaluate=validate,
                replicate=parallel.replicate,
                observer=log,
                # No lane's metric says which checkpoint is the best of a sweep.
                save=lambda step, state, sums, _: saved.save(step, state, sums, None),
                stop_requested=stop_requested,
            )
    finally:
        saved.checkpoints.close()

    lanes = _summaries(rates, state, validate(state), task)
    chosen = _choose(lanes, task)
    one = replace(parts, experiment=_with_rate(experiment, rates[chosen]))
    result = one.result(
        parallel.replicate(single(state, chosen)),
        feeds,
        rows=[row for row in metrics_file.rows if row["rate"] == rates[chosen]],
        seconds=saved.seconds,
    )
    # Evaluated with the others, so that it is the same number everywhere.
    summary = result.summary | {"validation": lanes[chosen]["validation"]}
    return SweepResult(lanes, chosen, replace(result, summary=summary), metrics_file.rows)


def _with_rate(experiment: Experiment, rate: float) -> Experiment:
    return replace(experiment, optimizer=replace(experiment.optimizer, learning_rate=rate))


def _summaries(
    rates: Sequence[float], state: Any, metrics: dict[str, np.ndarray], task: Task
) -> list[dict[str, Any]]:
    """How each lane ended."""
    steps, diverged, stopped = (
        np.asarray(a).tolist() for a in (state.steps, state.diverged, state.control.stopped)
    )
    return [
        {
            "learning_rate": rate,
            "step": steps[i],
            "stopped_early": stopped[i] and not diverged[i],
            "diverged": diverged[i],
            "validation": None
            if diverged[i]
            else {name: float(metrics[name][i]) for name in task.metrics},
        }
        for i, rate in enumerate(rates)
    ]


def _choose(lanes: Sequence[dict[str, Any]], task: Task) -> int:
    """The lane with the best validation metric; TrainingDiverged where there is none."""
    ends = [lane["validation"] for lane in lanes]
    best = best_of([end[task.best_metric] if end else math.nan for end in ends], task)
    if best is None:
        told = ", ".join(f"{lane['learning_rate']:g} at step {lane['step'] + 1}" for lane in lanes)
        raise TrainingDiverged(
            f"the loss or its gradient became non-finite with every learning rate: {told}. Lower "
            "rates, a warm-up or --optimizer.clip-norm 1 usually help"
        )
    return best
