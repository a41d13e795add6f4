"""What every task does alike: check its loss, initialize and apply its model, predict."""

from collections.abc import Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Key, PyTree

from cnn_jax.errors import ConfigError


def check_loss(loss: str, known: Iterable[str]) -> None:
    """Raise ConfigError unless a task knows the loss."""
    if loss not in known:
        raise ConfigError(f"loss must be one of {', '.join(map(repr, known))}, got {loss!r}")


def model_with_axis(model: nn.Module, axis_name: str | None) -> nn.Module:
    """The same model with BatchNorm synchronized over a mapped axis.

    Raises:
        ConfigError: a mapped axis, but the model has no attribute ``axis_name``.
    """
    if hasattr(model, "axis_name"):
        return model.clone(axis_name=axis_name)
    if axis_name is None:
        return model
    raise ConfigError(
        f"{type(model).__name__} has no attribute axis_name, which training under pmap needs; "
        "add it, or use --parallel jit"
    )


def init_model(
    model: nn.Module, key: Key[Array, ""], input_shape: tuple[int, ...]
) -> tuple[PyTree, PyTree]:
    """Fresh ``(params, model_state)`` for inputs of one shape, without the batch axis."""
    inputs = jnp.zeros((1, *input_shape))
    variables = jax.jit(model.init, static_argnames="train")(key, inputs, train=False)
    params = variables.pop("params")
    return params, variables


def apply_model(
    model: nn.Module,
    params: PyTree,
    model_state: PyTree,
    inputs: Array,
    key: Key[Array, ""],
    train: bool,
) -> tuple[Any, PyTree]:
    """The model's outputs and its new state, which changes in training alone."""
    variables = {"params": params, **model_state}
    if not train:
        return model.apply(variables, inputs, train=False), model_state
    return model.apply(
        variables, inputs, train=True, rngs={"dropout": key}, mutable=list(model_state)
    )


def gathered_outputs(model: nn.Module, params: PyTree, model_state: PyTree, inputs: Array) -> Any:
    """Outputs of a batch, gathered over the mapped axis if there is one."""
    outputs = model.apply({"params": params, **model_state}, inputs, train=False)
    axis_name = getattr(model, "axis_name", None)
    return lax.all_gather(outputs, axis_name, tiled=True) if axis_name else outputs
