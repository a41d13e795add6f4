"""Assembly of a training run: feeds, step, checkpoints and log around the loop."""

import functools
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import multihost_utils
from rich.console import Console

from cnn_jax.data import Dataset, Mix, apply_augment, normalize
from cnn_jax.training.checkpoint import Checkpoints
from cnn_jax.training.duration import to_steps
from cnn_jax.training.experiment import Experiment, Result
from cnn_jax.training.feed import EvalFeed, TrainFeed
from cnn_jax.training.logs import MetricsFile, RunLog
from cnn_jax.training.loop import Plan, TrainingDiverged, fit
from cnn_jax.training.optimizers import l2_penalty, make_optimizer, make_schedule
from cnn_jax.training.parallel import Parallel, is_primary
from cnn_jax.training.state import evaluated_params, init_state
from cnn_jax.training.step import (
    Batch,
    Prepare,
    layer_names,
    make_eval_step,
    make_train_step,
)


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
    dataset, config = experiment.dataset, experiment.training
    task = experiment.task.with_axis(parallel.axis_name)
    parallel.check_batch(config.batch_size, config.accumulate)
    steps_per_epoch = len(dataset.splits["train"]) // config.batch_size

    def steps(duration: str) -> int:
        return to_steps(duration, batch_size=config.batch_size, steps_per_epoch=steps_per_epoch)

    plan = Plan(
        total=steps(config.duration),
        log_every=max(1, steps(config.log_every)),
        evaluate_every=max(1, steps(config.evaluate_every)),
        save_every=max(1, steps(config.save_every)),
    )
    schedule = make_schedule(experiment.optimizer, plan.total, steps)
    optimizer = make_optimizer(experiment.optimizer, schedule)
    prepare = make_prepare(dataset, parallel.axis_name)
    train_step = make_train_step(
        task.loss_fn,
        optimizer,
        prepare=prepare,
        penalty=l2_penalty(experiment.optimizer),
        accumulate=config.accumulate,
        ema_decay=config.ema_decay,
        layer_gradients=config.layer_gradients,
        axis_name=parallel.axis_name,
    )
    feed = TrainFeed(
        dataset.splits["train"],
        train_step,
        parallel,
        batch_size=config.batch_size,
        seed=seed,
        workers=experiment.workers,
    )

    key = jax.random.key(seed)
    params, model_state = experiment.task.init(jax.random.fold_in(key, 0), dataset.image_shape)
    if experiment.initialize is not None:
        fresh = {"params": params, **model_state}
        variables = dict(experiment.initialize(fresh, earlier or {}))
        _check_initialized(variables, fresh)
        params, model_state = variables.pop("params"), variables
    state = init_state(
        params, model_state, optimizer, jax.random.fold_in(key, 1), ema=bool(config.ema_decay)
    )
    carry = parallel.replicate(
        {"state": state, "sums": feed.zero_sums(state), "seconds": np.float32(0.0)}
    )
    checkpoints = Checkpoints(
        directory / "checkpoints",
        best_metric=task.best_metric,
        higher_is_better=task.higher_is_better,
    )
    first = checkpoints.latest_step() or 0
    if first:
        carry = checkpoints.restore(first, carry)
    metrics_file = MetricsFile(
        directory / "metrics.csv" if is_primary() else None,
        task.metrics,
        layers=layer_names(params) if config.layer_gradients else (),
        resume_step=first,
    )

    eval_step = make_eval_step(task.loss_fn, prepare=prepare, axis_name=parallel.axis_name)
    eval_feeds = {
        name: EvalFeed(split, parallel, batch_size=config.eval_batch_size)
        for name, split in dataset.splits.items()
        if name != "train"
    }

    def evaluate(name: str) -> Callable[[Any], dict[str, float]]:
        total = eval_feeds[name].total(eval_step)
        return lambda state: task.summarize(total(state))

    seconds, started = float(carry["seconds"]), time.perf_counter()

    def save(step: int, state: Any, sums: Any, summary: dict[str, float] | None) -> None:
        nonlocal seconds, started
        now = time.perf_counter()
        seconds, started = seconds + now - started, now
        clock = parallel.replicate(np.float32(seconds))
        checkpoints.save(step, {"state": state, "sums": sums, "seconds": clock}, summary)

    log = RunLog(
        metrics_file,
        console,
        title=title,
        total=plan.total,
        first=first,
        steps_per_epoch=steps_per_epoch,
        summarize=task.summarize,
        learning_rate=schedule,
        writer=writer,
    )
    try:
        with log, _stop_signals() as stop_requested:
            state = fit(
                carry["state"],
                carry["sums"],
                plan=plan,
                control=experiment.control,
                advance=_profiled(feed.advance, profile) if profile else feed.advance,
                evaluate=evaluate("validation") if "validation" in eval_feeds else None,
                replicate=parallel.replicate,
                observer=log,
                save=save,
                stop_requested=stop_requested,
            )
    except TrainingDiverged as error:
        checkpoints.wait()
        last = checkpoints.latest_step()
        good = f"the last good checkpoint is step {last}" if last else "nothing was saved before"
        raise TrainingDiverged(
            f"{error}; {good} in {directory}. A lower --optimizer.learning-rate, a warm-up or "
            "--optimizer.clip-norm 1 usually helps"
        ) from None
    finally:
        checkpoints.close()

    step = int(state.step)
    splits = [name for name in ("validation", "test") if name in eval_feeds]
    summary: dict[str, Any] = {
        "step": step,
        "epochs": round(step / steps_per_epoch, 4),
        "stopped_early": bool(state.control.stopped),
        "parameters": sum(p.size for p in jax.tree.leaves(state.params)),
        "train_seconds": round(float(np.float32(seconds)), 2),
        **{name: evaluate(name)(state) for name in splits},
    }

    def predict(state: Any, batch: Batch) -> Any:
        return task.predict(
            evaluated_params(state), state.model_state, prepare(batch, state.key, False)
        )

    @functools.cache
    def outputs(name: str) -> np.ndarray:
        feed = eval_feeds[name]
        parts = [np.asarray(part) for part in feed.compile(predict)(state)]
        return np.concatenate(parts)[: len(feed)]

    return Result(
        experiment=experiment,
        summary=summary,
        rows=metrics_file.rows,
        variables=jax.tree.map(
            np.asarray, {"params": evaluated_params(state), **state.model_state}
        ),
        outputs=outputs,
    )


def _check_initialized(variables: Mapping[str, Any], fresh: Mapping[str, Any]) -> None:
    """Raise ValueError where ``initialize`` gives other arrays than it was given."""
    there, wanted = (
        {jax.tree_util.keystr(path): jnp.shape(leaf) for path, leaf in leaves}
        for leaves in map(jax.tree_util.tree_leaves_with_path, (variables, fresh))
    )
    wrong = [
        f"  {name}: {there.get(name, 'missing')}, expected {wanted.get(name, 'nothing')}"
        for name in sorted(there.keys() | wanted.keys())
        if there.get(name) != wanted.get(name)
    ]
    if wrong:
        raise ValueError(
            "initialize gives variables that are not the model's:\n" + "\n".join(wrong)
        )


def make_prepare(dataset: Dataset, axis_name: str | None = None) -> Prepare:
    """What turns a raw batch into the model's input, inside the compiled step.

    Images (uint8) are scaled to [0, 1], augmented, mixed and normalized; float inputs are taken
    as they are. Each example's augmentation has a key of its own, made of the step's key and
    its place in the global batch, and pairs to mix are of the global batch: the same on any
    number of devices.
    """

    def prepare(batch: Batch, key: Any, train: bool) -> Batch:
        if batch["image"].dtype != jnp.uint8:
            return batch
        images = batch["image"].astype(jnp.float32) / 255.0
        if train and dataset.augment:
            keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, batch["index"])
            images = apply_augment(dataset.augment, keys, images)
        if train and dataset.mix is not None:
            labels = jax.nn.one_hot(batch["label"], dataset.num_classes)
            images, labels = _mixed(dataset.mix, key, images, labels, axis_name)
            batch = batch | {"label": labels}
        return batch | {"image": normalize(images, dataset.mean, dataset.std)}

    return prepare


def _mixed(mix: Mix, key: Any, images: Any, labels: Any, axis_name: str | None) -> Any:
    """The batch with its pairs mixed; a mapped axis is gathered first, as they may lie anywhere."""
    parts = images, labels
    if axis_name:
        parts = lax.all_gather(parts, axis_name, tiled=True)
    # The number after that of the last example, whose keys are taken.
    mixed = mix(jax.random.fold_in(key, len(parts[0])), *parts)
    if not axis_name:
        return mixed
    start, size = lax.axis_index(axis_name) * len(images), len(images)
    return jax.tree.map(lambda a: lax.dynamic_slice_in_dim(a, start, size), mixed)


def _profiled(advance: Callable, directory: Path) -> Callable:
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


@contextmanager
def _stop_signals() -> Iterator[Callable[[int], bool]]:
    """SIGTERM and the first Ctrl-C ask for a save and an end; the second Ctrl-C ends at once."""
    requested = threading.Event()

    def request(number: int, _: Any) -> None:
        if requested.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        requested.set()

    def stop_requested(step: int) -> bool:
        if jax.process_count() > 1:
            # They stop together when one is asked. (JAX's own notifier of SIGTERM, which finds
            # such a step too, lost the signal to the handler above.)
            return bool(np.any(multihost_utils.process_allgather(np.bool_(requested.is_set()))))
        return requested.is_set()

    if threading.current_thread() is not threading.main_thread():
        yield stop_requested
        return
    before = {n: signal.signal(n, request) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop_requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
