"""The one pytree that a training run consists of."""

from typing import Any, no_type_check

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, Key, PyTree

from cnn_jax.training.control import Control, init_control
from cnn_jax.training.trainable import Trainable, split_params


# JAX also fills a pytree's fields with shapes, shardings and batched values.
@no_type_check
class TrainState(flax.struct.PyTreeNode):
    """Everything that decides what happens next, apart from the configuration.

    A checkpoint holds exactly this, so a run that is killed and resumed goes on to the bit.
    """

    step: Int[Array, ""]
    """Number of updates made; with the seed it also gives the position in the data."""
    params: PyTree
    model_state: PyTree
    """The model's other collections, such as BatchNorm's ``batch_stats``."""
    opt_state: optax.OptState
    key: Key[Array, ""]
    """Root of all randomness: step ``i`` uses ``fold_in(key, i)``."""
    control: Control
    """What evaluations have decided: plateau factor, early stopping."""
    ema: PyTree = None
    """Exponential moving average of ``params``; None where it is not asked for."""


def init_state(
    params: PyTree,
    model_state: PyTree,
    optimizer: optax.GradientTransformation,
    key: Key[Array, ""],
    *,
    ema: bool = False,
    trainable: Trainable | None = None,
) -> TrainState:
    """The state before the first step; the optimizer keeps nothing of what does not train."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        model_state=model_state,
        opt_state=optimizer.init(split_params(params, trainable)[0]),
        key=key,
        control=init_control(),
        ema=jax.tree.map(jnp.copy, params) if ema else None,
    )


def evaluated_params(state: TrainState) -> Any:
    """The parameters that an evaluation uses: the moving average where there is one."""
    return state.params if state.ema is None else state.ema
