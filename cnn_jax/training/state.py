"""The one pytree that a training run consists of."""

from typing import Any, no_type_check

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key, PyTree

from cnn_jax.training.control import init_control


# JAX also fills a pytree's fields with shapes, shardings and batched values.
@no_type_check
class TrainState(flax.struct.PyTreeNode):
    """Everything that decides what happens next, apart from the configuration.

    A checkpoint holds exactly this, so a run that is killed and resumed continues to the bit.
    """

    step: Int[Array, ""]
    """Number of updates made; with the seed it also gives the position in the data."""
    params: PyTree
    model_state: PyTree
    """The model's other collections, such as BatchNorm's ``batch_stats``."""
    opt_state: PyTree
    key: Key[Array, ""]
    """Root of all randomness: step ``i`` uses ``fold_in(key, i)``."""
    control: PyTree
    """What evaluations have decided, as `training.control` keeps it: plateau factor, early
    stopping. Training ends when its ``stopped`` is true."""
    ema: PyTree = None
    """Exponential moving average of ``params``, or of some of their top-level parts; None: none."""
    carry: PyTree = None
    """What a recurrent model carries from one batch to the next, [batch, ...]; None: nothing."""


def init_state(
    params: PyTree,
    model_state: PyTree,
    opt_state: PyTree,
    key: Key[Array, ""],
    *,
    ema: PyTree = None,
    carry: PyTree = None,
) -> TrainState:
    """The state before the first step."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        model_state=model_state,
        opt_state=opt_state,
        key=key,
        control=init_control(),
        # A copy: a step consumes the memory of its arguments, and may not be given one twice.
        ema=jax.tree.map(jnp.copy, ema),
        carry=carry,
    )


def evaluated_params(state: TrainState) -> Any:
    """The parameters that an evaluation uses: the moving average of those that have one."""
    return state.params if state.ema is None else {**state.params, **state.ema}
