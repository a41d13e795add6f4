"""The default program: one task, one optimizer."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from cnn_jax.errors import ConfigError
from cnn_jax.training.experiment import CheckedTask, Experiment, MeasuredTask, RecurrentTask
from cnn_jax.training.optimizers import make_updates
from cnn_jax.training.plan import Plan
from cnn_jax.training.preprocess import make_preprocess
from cnn_jax.training.program import Batch, Evaluated, Program, Sums, Variables
from cnn_jax.training.state import TrainState, evaluated_params, init_state
from cnn_jax.training.step import make_train_step, with_carry, without_carry
from cnn_jax.training.trainable import split_params


def supervised(experiment: Experiment, plan: Plan) -> Program:
    """The program of an experiment's task and optimizer.

    Raises:
        ConfigError: a schedule that does not fit the plan, or a recurrent task with what it cannot
            be combined with.
    """
    task, config, dataset = experiment.task, experiment.training, experiment.dataset
    recurrent = task if isinstance(task, RecurrentTask) else None
    if recurrent:
        _check_recurrent(experiment)
    if isinstance(task, CheckedTask):
        task.check(dataset)
    optimizer, schedule, penalty = make_updates(experiment.optimizer, plan)
    preprocess = make_preprocess(dataset)
    gradient_step = make_train_step(
        task.loss_fn,
        optimizer,
        preprocess=preprocess,
        schedule=schedule,
        penalty=penalty,
        accumulate=config.accumulate,
        ema_decay=config.ema_decay,
        layer_gradients=config.layer_gradients,
        trainable=experiment.trainable,
    )

    def init(key: Key[Array, ""], change: Callable[[Variables], Variables]) -> TrainState:
        params, model_state = task.init(jax.random.fold_in(key, 0), dataset.spec)
        model_state = dict(change({"params": params, **model_state}))
        params = model_state.pop("params")
        trained, _ = split_params(params, experiment.trainable)
        return init_state(
            params,
            model_state,
            jax.jit(optimizer.init)(trained),
            jax.random.fold_in(key, 1),
            ema=params if config.ema_decay else None,
            carry=init_carry(plan.batch_size),
        )

    def init_carry(batch_size: int) -> PyTree:
        return recurrent.init_carry(batch_size) if recurrent else None

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Sums]:
        if recurrent:
            # Every epoch begins the sequences anew.
            begins = state.step % plan.steps_per_epoch == 0
            carry = jax.tree.map(lambda a: jnp.where(begins, jnp.zeros_like(a), a), state.carry)
            state = state.replace(carry=carry)
        return gradient_step(state, batch)

    def evaluate(state: TrainState, batch: Batch, carry: PyTree) -> Evaluated:
        batch = preprocess(batch, state.key, False)
        params, model_state = evaluated_params(state), with_carry(state.model_state, carry)
        loss, (model_state, sums) = task.loss_fn(params, model_state, batch, state.key, False)
        rows = None
        if isinstance(task, MeasuredTask):
            rows = task.rows(params, state.model_state, batch)
        return Evaluated(sums | {"loss": loss}, rows, without_carry(model_state)[1])

    def predict(state: TrainState, batch: Batch) -> Any:
        batch = preprocess(batch, state.key, False)
        return task.predict(evaluated_params(state), state.model_state, batch)

    return Program(
        init=init,
        train_step=train_step,
        predict=predict,
        evaluate=evaluate,
        summarize=task.summarize,
        metrics=task.metrics,
        best_metric=task.best_metric,
        higher_is_better=task.higher_is_better,
        measure=task.measure if isinstance(task, MeasuredTask) else None,
        init_carry=init_carry,
    )


def _check_recurrent(experiment: Experiment) -> None:
    name, count = type(experiment.task).__name__, experiment.training.accumulate
    if count > 1:
        raise ConfigError(
            f"--training.accumulate {count} cuts a batch into micro-batches that follow each "
            f"other, and {name} carries state from batch to batch; use --training.accumulate 1 and "
            "a smaller --training.batch-size"
        )
    shuffled = [key for key, split in experiment.dataset.splits.items() if not split.contiguous]
    if shuffled:
        raise ConfigError(
            f"{name} carries state from batch to batch, but the examples of {', '.join(shuffled)} "
            "do not continue those of the batch before; use a WindowSplit with contiguous=True"
        )
