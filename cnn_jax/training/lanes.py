"""Several training runs as one: their states stacked, their steps under ``jax.vmap``.

Every learning rate has a lane: its own parameters, optimizer state and counters. All lanes begin
alike, see the same examples and draw the same random numbers, so each is the run of its rate. The
rate of lane k at a step is

    rates[k] * shape(step) * plateau[k]

where ``shape`` is the schedule of a peak rate of 1: the updates of all our optimizers, decoupled
weight decay among them, are proportional to the rate, so it is a factor on the update.
"""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any, no_type_check

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.errors import ConfigError
from cnn_jax.training.feed import EvalFn, StepFn, Sums
from cnn_jax.training.state import TrainState
from cnn_jax.training.step import Batch

MEMORY_FACTOR = 3
"""States that a step needs room for: itself, its gradients and updates, the copy being saved."""


# JAX also fills a pytree's fields with axes, shardings and batched values.
@no_type_check
class SweptState(TrainState, kw_only=True):
    """The states of all lanes; all but ``step`` and ``key`` have a leading axis, one of rates."""

    diverged: Any
    """bool [rates]: lanes whose loss or gradient was not finite; they stay as before that step."""
    steps: Any
    """int32 [rates]: updates made; fewer than ``step`` where a lane diverged or stopped early."""


_SHARED = ("step", "key")
_FIELDS = [field.name for field in dataclasses.fields(TrainState)]
_STACKED: dict[str, Any] = dict.fromkeys([*_FIELDS, "diverged", "steps"], 0)
_AXES = SweptState(**_STACKED | dict.fromkeys(_SHARED))


def swept_train_step(train_step: StepFn, rates: Sequence[float]) -> StepFn:
    """The step of all lanes, ``step(swept_state, batch)``; all of them see the same batch."""

    def lane(state: Any, batch: Batch, rate: Any) -> tuple[Any, Sums]:
        control = state.control
        after, sums = train_step(
            state.replace(control=control.replace(scale=control.scale * rate)), batch
        )
        finite = sums["finite_steps"] > 0
        going = ~control.stopped & finite
        diverged = state.diverged | (~control.stopped & ~finite)

        def kept(new: Any, old: Any) -> Any:
            return jax.tree.map(lambda a, b: jnp.where(going, a, b), new, old)

        after = after.replace(
            params=kept(after.params, state.params),
            model_state=kept(after.model_state, state.model_state),
            opt_state=kept(after.opt_state, state.opt_state),
            ema=kept(after.ema, state.ema),
            control=control.replace(stopped=control.stopped | diverged),
            diverged=diverged,
            steps=state.steps + going,
        )
        return after, kept(sums, jax.tree.map(jnp.zeros_like, sums))

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Sums]:
        every = jax.vmap(lane, in_axes=(_AXES, None, 0), out_axes=(_AXES, 0))
        return every(state, batch, jnp.asarray(rates))

    return step


def swept_eval_step(eval_step: EvalFn) -> EvalFn:
    """The sums of all lanes, each with a leading axis."""
    return jax.vmap(eval_step, in_axes=(_AXES, None))


def stacked(state: TrainState, count: int) -> SweptState:
    """The state of so many lanes that all begin with this one, on the host."""

    def repeated(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf)[None], count, axis=0), tree)

    return SweptState(
        **{
            name: getattr(state, name) if name in _SHARED else repeated(getattr(state, name))
            for name in _FIELDS
        },
        diverged=np.zeros(count, bool),
        steps=np.zeros(count, np.int32),
    )


def single(state: Any, lane: int) -> TrainState:
    """The ordinary state of one lane, on the host."""
    own = {name: lane_of(getattr(state, name), lane) for name in _FIELDS if name not in _SHARED}
    return TrainState(step=lane_of(state.steps, lane), key=state.key, **own)


def lane_of(tree: Any, lane: int) -> Any:
    """One lane of a stacked tree, on the host."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[lane], tree)


def check_memory(state: TrainState, count: int, available: int) -> None:
    """Raise ConfigError where so many lanes of a state do not fit into a device's bytes."""
    leaves = jax.tree.leaves(state.replace(key=None))
    one = MEMORY_FACTOR * sum(leaf.nbytes for leaf in leaves)
    if one * count > available:
        raise ConfigError(
            f"{count} learning rates at once need about {_size(one * count)} ({_size(one)} each: "
            "parameters, optimizer state, gradients, a copy being saved), and a device has "
            f"{_size(available)}; sweep at most {available // one} at once, or train them one "
            "after another with --optimizer.learning-rate"
        )


def memory_of_a_device() -> int:
    """Bytes of memory; of a CPU's virtual devices each has its part."""
    device = jax.local_devices()[0]
    if stats := device.memory_stats():
        return stats["bytes_limit"]
    everything = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return everything // jax.local_device_count()


def _size(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.1f} MiB"
