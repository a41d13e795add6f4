"""What all tasks share: they check their loss, and initialize and apply their model."""

from collections.abc import Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from cnn_jax.errors import ConfigError

Spec = Mapping[str, jax.ShapeDtypeStruct]
"""Shape and dtype of each entry of an example, without the batch axis."""


def check_loss(loss: str, known: Iterable[str], name: str = "loss") -> None:
    """Raise ConfigError for a loss, or another part of one, that the task does not know."""
    if loss not in known:
        raise ConfigError(f"{name} must be one of {', '.join(map(repr, known))}, got {loss!r}")


def check_outputs(model: nn.Module, dataset: Any) -> None:
    """Raise ConfigError for a data set that has more classes than the model has outputs."""
    outputs, classes = getattr(model, "num_classes", None), dataset.num_classes
    if outputs is not None and outputs < classes:
        raise ConfigError(
            f"the model has {outputs} outputs, and {dataset.title} has {classes} classes; "
            f"create the model with num_classes={classes}"
        )


def init_model(
    model: nn.Module, key: Key[Array, ""], spec: Spec, name: str = "image"
) -> tuple[PyTree, PyTree]:
    """Fresh ``(params, model_state)`` for an entry of a spec: images, or tokens."""
    dtype = jnp.int32 if spec[name].dtype == jnp.int32 else None
    variables = init_variables(model, key, jnp.zeros((1, *spec[name].shape), dtype))
    params = variables.pop("params")
    return params, variables


def init_variables(model: nn.Module, key: Key[Array, ""], *inputs: Array | None) -> dict[str, Any]:
    """Fresh variables of a model for some inputs."""
    # On CPUs LLVM would spend most of the compilation on optimizing random numbers that are drawn
    # once. Unoptimized they differ by rounding (6e-8 in a ResNet), so no CPU optimizes them. Inside
    # of another transformation, where inputs are traced, its own options hold.
    options = None
    if jax.default_backend() == "cpu" and not isinstance(inputs[0], jax.core.Tracer):
        options = {"xla_backend_optimization_level": 0}
    init = jax.jit(model.init, static_argnames="train", compiler_options=options)
    return dict(init(key, *inputs, train=False))


def apply_model(
    model: nn.Module,
    params: PyTree,
    model_state: PyTree,
    inputs: Array,
    key: Key[Array, ""],
    train: bool,
    **more: Any,
) -> tuple[Any, PyTree]:
    """The model's outputs and its new state, which only training changes; more inputs by name."""
    if not train:
        return predict_model(model, params, model_state, inputs, **more), model_state
    variables, rngs = {"params": params, **model_state}, {"dropout": key}
    return model.apply(variables, inputs, train=True, rngs=rngs, mutable=list(model_state), **more)


def predict_model(
    model: nn.Module, params: PyTree, model_state: PyTree, inputs: Array, **more: Any
) -> Any:
    """The model's outputs in evaluation; more inputs by name."""
    return model.apply({"params": params, **model_state}, inputs, train=False, **more)
