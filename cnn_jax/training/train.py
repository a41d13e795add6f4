"""A training run: the loop with feeds, step, checkpoints and log around it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from cnn_jax.training.assembly import SavedRun, assemble
from cnn_jax.training.experiment import Experiment, Result
from cnn_jax.training.logs import MetricsFile, RunLog
from cnn_jax.training.loop import TrainingDiverged, fit
from cnn_jax.training.parallel import Parallel, is_primary
from cnn_jax.training.signals import stop_signals
from cnn_jax.training.state import TrainState


def train(
    experiment: Experiment,
    directory: Path,
    parallel: Parallel,
    *,
    seed: int,
    title: str,
    console: Console | None = None,
    writer: Callable[[int, dict[str, float]], None] | None = None,
    profile: Path | None = None,
    earlier: Mapping[str, Result] | None = None,
) -> Result:
    """Train an experiment, or go on with it where ``directory`` holds a checkpoint.

    Args:
        experiment: what to train.
        directory: gets ``checkpoints/`` and ``metrics.csv``.
        parallel: how to spread it over the devices.
        seed: decides initialization, order of examples and all other randomness.
        title: shown at the progress bar.
        console: where a person looks; None is silent.
        writer: also gets every row of the metrics.
        profile: gets a ``jax.profiler`` trace of the second chunk of steps.
        earlier: results of a study's earlier members, for ``experiment.initialize``.

    Raises:
        ValueError: the configuration does not fit the data or the devices.
        CheckpointMismatch: the directory's checkpoint is of another model.
        TrainingDiverged: the loss is no longer finite.
        Interrupted: the run was asked to stop, and has saved its state.
    """
    parts = assemble(experiment, parallel, seed=seed, earlier=earlier)
    task, feed, plan = parts.task, parts.train_feed(parts.train_step, seed), parts.plan
    saved = SavedRun(directory / "checkpoints", task, parallel, parts.state, feed)
    metrics_file = MetricsFile(
        directory / "metrics.csv" if is_primary() else None,
        task.metrics,
        layers=parts.layers,
        resume_step=saved.first,
    )
    feeds = parts.eval_feeds()
    validate = None
    if "validation" in feeds:
        total = feeds["validation"].total(parts.eval_step)

        def validate(state: TrainState) -> dict[str, float]:
            return task.summarize(total(state))

    log = RunLog(
        metrics_file,
        console,
        title=title,
        total=plan.total,
        first=saved.first,
        steps_per_epoch=parts.steps_per_epoch,
        summarize=task.summarize,
        learning_rate=parts.schedule,
        writer=writer,
    )
    try:
        with log, stop_signals() as stop_requested:
            state = fit(
                saved.state,
                saved.sums,
                plan=plan,
                control=experiment.control,
                advance=profiled(feed.advance, profile) if profile else feed.advance,
                evaluate=validate,
                replicate=parallel.replicate,
                observer=log,
                save=saved.save,
                stop_requested=stop_requested,
            )
    except TrainingDiverged as error:
        saved.checkpoints.wait()
        last = saved.checkpoints.latest_step()
        good = f"the last good checkpoint is step {last}" if last else "nothing was saved before"
        raise TrainingDiverged(
            f"{error}; {good} in {directory}. A lower --optimizer.learning-rate, a warm-up or "
            "--optimizer.clip-norm 1 usually helps"
        ) from None
    finally:
        saved.checkpoints.close()
    return parts.result(state, feeds, rows=metrics_file.rows, seconds=saved.seconds)


def profiled(advance: Callable, directory: Path) -> Callable:
    """Trace the second call: the first one compiles."""
    calls = 0

    def traced(state: Any, sums: Any, n: int) -> Any:
        nonlocal calls
        calls += 1
        if calls != 2:
            return advance(state, sums, n)
        with jax.profiler.trace(str(directory)):
            return jax.block_until_ready(advance(state, sums, n))

    return traced
