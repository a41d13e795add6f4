"""Weights of PyTorch models as variables of ours."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from cnn_jax.models import create_model


def from_torch(
    model: str | nn.Module,
    state_dict: Mapping[str, Any],
    image_shape: tuple[int, int, int] = (224, 224, 3),
) -> dict[str, Any]:
    """Variables (`params`, `batch_stats`) of a model from the state dict of its PyTorch original.

    Kernels change from OIHW to HWIO and from [out, in] to [in, out]. Values are float32, or float64
    where they come as float64 and JAX has it enabled.

    Args:
        model: a module, or a name for `create_model`.
        state_dict: PyTorch's names to tensors or numpy arrays; counters of batches are left out.
        image_shape: height, width and channels the model is made for; only models without global
            pooling depend on the size.

    Raises:
        TypeError: a model without a table of PyTorch's names (`torch_names`).
        ValueError: entries that are missing, unexpected or of another shape, all in one message.
    """
    if isinstance(model, str):
        model = create_model(model)
    if not hasattr(model, "torch_names"):
        raise TypeError(
            f"{type(model).__name__} holds no table of PyTorch's names, so its weights cannot be "
            "converted; give the class a method torch_names"
        )
    names: dict[str, str] = model.torch_names()
    shapes = flatten_dict(
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *image_shape))), sep="/"
    )
    arrays = {
        name: _numpy(value)
        for name, value in state_dict.items()
        if not name.endswith("num_batches_tracked")
    }

    problems = [f"missing: {name}" for name in names if name not in arrays]
    problems += [f"unexpected: {name}" for name in arrays if name not in names]
    variables = {}
    for name, path in names.items():
        if name not in arrays:
            continue
        variables[path] = _our_layout(arrays[name])
        if variables[path].shape != shapes[path].shape:
            problems.append(
                f"misshapen: {name} is {arrays[name].shape}, "
                f"expected {_torch_shape(shapes[path].shape)}"
            )
    if problems:
        raise ValueError(
            f"these weights do not fit {type(model).__name__} "
            f"({len(problems)} of {len(names)} entries):\n  " + "\n  ".join(problems)
        )
    return unflatten_dict({path: jnp.asarray(value) for path, value in variables.items()}, sep="/")


def _numpy(value: Any) -> np.ndarray:
    array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    return array.astype(np.promote_types(array.dtype, np.float32))


def _our_layout(array: np.ndarray) -> np.ndarray:
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    return array.T


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) == 4:
        return shape[3], shape[2], shape[0], shape[1]
    return shape[::-1]
