"""The parts of a training run, made of its experiment: plan, steps, feeds, fresh or saved state."""

import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.training.checkpoint import Checkpoints
from cnn_jax.training.duration import to_steps
from cnn_jax.training.experiment import Experiment, Result, Task
from cnn_jax.training.feed import EvalFeed, EvalFn, StepFn, Sums, TrainFeed
from cnn_jax.training.logs import Row
from cnn_jax.training.loop import Plan
from cnn_jax.training.optimizers import Schedule, l2_penalty, make_optimizer, make_schedule
from cnn_jax.training.parallel import Parallel
from cnn_jax.training.prepare import make_prepare
from cnn_jax.training.state import TrainState, evaluated_params, init_state
from cnn_jax.training.step import Batch, layer_names, make_eval_step, make_train_step
from cnn_jax.training.trainable import split_params


@dataclass(frozen=True)
class Parts:
    """What a run is put together from, before its first step."""

    experiment: Experiment
    parallel: Parallel
    task: Task
    plan: Plan
    steps_per_epoch: int
    schedule: Schedule
    train_step: StepFn
    eval_step: EvalFn
    predict: EvalFn
    state: TrainState

    @property
    def layers(self) -> list[str]:
        """The layers whose gradients are logged."""
        if not self.experiment.training.layer_gradients:
            return []
        return layer_names(split_params(self.state.params, self.experiment.trainable)[0])

    def train_feed(self, train_step: StepFn, seed: int) -> TrainFeed:
        """Batches of the training split for a step."""
        return TrainFeed(
            self.experiment.dataset.splits["train"],
            train_step,
            self.parallel,
            batch_size=self.experiment.training.batch_size,
            seed=seed,
            workers=self.experiment.workers,
        )

    def eval_feeds(self) -> dict[str, EvalFeed]:
        """Batches of the other splits, by name."""
        size = self.experiment.training.eval_batch_size
        return {
            name: EvalFeed(split, self.parallel, batch_size=size)
            for name, split in self.experiment.dataset.splits.items()
            if name != "train"
        }

    def result(
        self, state: TrainState, feeds: Mapping[str, EvalFeed], *, rows: list[Row], seconds: float
    ) -> Result:
        """What a finished run leaves; here the test split is evaluated, once."""
        step = int(state.step)
        summary: dict[str, Any] = {
            "step": step,
            "epochs": round(step / self.steps_per_epoch, 4),
            "stopped_early": bool(state.control.stopped),
            "parameters": sum(p.size for p in jax.tree.leaves(state.params)),
            "trained_parameters": sum(
                p.size
                for p in jax.tree.leaves(split_params(state.params, self.experiment.trainable)[0])
            ),
            "train_seconds": round(float(np.float32(seconds)), 2),
        }
        for name in ("validation", "test"):
            if name in feeds:
                summary[name] = self.task.summarize(feeds[name].total(self.eval_step)(state))

        @functools.cache
        def outputs(name: str) -> np.ndarray:
            feed = feeds[name]
            parts = [np.asarray(part) for part in feed.compile(self.predict)(state)]
            return np.concatenate(parts)[: len(feed)]

        return Result(
            experiment=self.experiment,
            summary=summary,
            rows=rows,
            variables=jax.tree.map(
                np.asarray, {"params": evaluated_params(state), **state.model_state}
            ),
            outputs=outputs,
        )


def assemble(
    experiment: Experiment,
    parallel: Parallel,
    *,
    seed: int,
    earlier: Mapping[str, Result] | None = None,
) -> Parts:
    """Plan, steps and fresh state of an experiment; the arguments are those of ``train``.

    Raises:
        ValueError: the configuration does not fit the data or the devices.
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

    def predict(state: TrainState, batch: Batch) -> Any:
        return task.predict(
            evaluated_params(state), state.model_state, prepare(batch, state.key, False)
        )

    key = jax.random.key(seed)
    params, model_state = experiment.task.init(jax.random.fold_in(key, 0), dataset.image_shape)
    if experiment.initialize is not None:
        fresh = {"params": params, **model_state}
        variables = dict(experiment.initialize(fresh, earlier or {}))
        _check_initialized(variables, fresh)
        params, model_state = variables.pop("params"), variables
    return Parts(
        experiment=experiment,
        parallel=parallel,
        task=task,
        plan=plan,
        steps_per_epoch=steps_per_epoch,
        schedule=schedule,
        train_step=make_train_step(
            task.loss_fn,
            optimizer,
            prepare=prepare,
            penalty=l2_penalty(experiment.optimizer),
            accumulate=config.accumulate,
            ema_decay=config.ema_decay,
            layer_gradients=config.layer_gradients,
            trainable=experiment.trainable,
            axis_name=parallel.axis_name,
        ),
        eval_step=make_eval_step(task.loss_fn, prepare=prepare, axis_name=parallel.axis_name),
        predict=predict,
        state=init_state(
            params,
            model_state,
            optimizer,
            jax.random.fold_in(key, 1),
            ema=bool(config.ema_decay),
            trainable=experiment.trainable,
        ),
    )


class SavedRun:
    """State, sums and clock of a run on the devices: fresh, or from its last checkpoint.

    Args:
        directory: of the checkpoints.
        task: names the metric of the best one.
        parallel: how the state is placed.
        state: the fresh state.
        feed: knows the sums of no steps.

    Raises:
        CheckpointMismatch: the last checkpoint is of another model.
    """

    def __init__(
        self, directory: Path, task: Task, parallel: Parallel, state: TrainState, feed: TrainFeed
    ) -> None:
        carry = parallel.replicate(
            {"state": state, "sums": feed.zero_sums(state), "seconds": np.float32(0.0)}
        )
        self.checkpoints = Checkpoints(
            directory, best_metric=task.best_metric, higher_is_better=task.higher_is_better
        )
        self.first = self.checkpoints.latest_step() or 0
        if self.first:
            carry = self.checkpoints.restore(self.first, carry)
        self.state, self.sums = carry["state"], carry["sums"]
        self.seconds, self._started = float(carry["seconds"]), time.perf_counter()
        self._replicate = parallel.replicate

    def save(
        self, step: int, state: TrainState, sums: Sums, summary: dict[str, float] | None
    ) -> None:
        """Start to write a checkpoint."""
        now = time.perf_counter()
        self.seconds, self._started = self.seconds + now - self._started, now
        clock = self._replicate(np.float32(self.seconds))
        self.checkpoints.save(step, {"state": state, "sums": sums, "seconds": clock}, summary)


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
