"""Conversion of PyTorch's state dicts to our variables and back."""

import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from cnn_jax.errors import ConfigError
from cnn_jax.models import create_model, example_shape
from cnn_jax.models.registry import IMAGENET
from cnn_jax.pretrained.renamed import torchvision_names
from cnn_jax.pretrained.state_dict import as_state_dict


def from_torch(
    model: str | nn.Module,
    state_dict: Mapping[str, Any] | str | os.PathLike,
    image_shape: tuple[int, int, int] | None = None,
) -> dict[str, Any]:
    """Variables (`params`, `batch_stats`) of a model from the state dict of its PyTorch original.

    Kernels change from OIHW to HWIO and from [out, in] to [in, out]. Values are float32, or float64
    if they are stored as float64 and JAX has it enabled. The names are torchvision's; timm's and
    older names of torchvision are also accepted (see `torchvision_names`).

    Args:
        model: a module, or a name for `create_model`.
        state_dict: tensors or numpy arrays by PyTorch's names, or a file of them (see
            `as_state_dict`). Counters of batches are ignored, and so are auxiliary classifiers if
            the model has `aux_logits=False`, and the last layer if it has `num_classes=0`.
        image_shape: height, width and channels of the images that the model is made for; only
            models without global pooling depend on the size. The default is `example_shape` of
            the name, and (224, 224, 3) for a module.

    Raises:
        TypeError: a model without a table of PyTorch's names (`torch_names`).
        ConfigError: entries that are missing, unexpected or of another shape or kind; all are
            listed.
        UserError: a file that cannot be read.
    """
    if isinstance(model, str):
        image_shape = image_shape or example_shape(model)
        model = create_model(model)
    names = _torch_names(model)
    images = jnp.zeros((1, *(image_shape or IMAGENET)))
    shapes = flatten_dict(jax.eval_shape(model.init, jax.random.key(0), images), sep="/")
    arrays = torchvision_names(as_state_dict(state_dict))
    unused = _names_left_out(model)

    problems = [f"missing: {name}" for name in names if name not in arrays]
    problems += [f"unexpected: {name}" for name in arrays if name not in {**names, **unused}]
    variables = {}
    for name, path in names.items():
        if name not in arrays:
            continue
        array = arrays[name]
        variables[path] = _our_layout(array)
        if variables[path].shape != shapes[path].shape:
            problems.append(
                f"misshapen: {name} is {array.shape}, expected {_torch_shape(shapes[path].shape)}"
            )
        elif not np.issubdtype(array.dtype, np.floating):
            problems.append(f"not floating point: {name} is {array.dtype}")
    if problems:
        raise ConfigError(
            f"these weights do not fit {type(model).__name__} "
            f"({len(problems)} of {len(names)} entries):\n  " + "\n  ".join(problems)
        )
    return unflatten_dict({path: jnp.asarray(value) for path, value in variables.items()}, sep="/")


def to_torch(model: str | nn.Module, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The state dict of a model's PyTorch original; the exact inverse of `from_torch`.

    It has all names of torchvision's `state_dict()`, in the order of our table. Counters of
    batches are zero. To load it in PyTorch:
    `model.load_state_dict({name: torch.as_tensor(array) for name, array in state.items()})`. To
    save it: `safetensors.numpy.save_file(state, "model.safetensors")`.

    Args:
        model: a module, or a name for `create_model`.
        variables: `params` and `batch_stats`, as returned by `init` and `from_torch`.

    Raises:
        TypeError: a model without a table of PyTorch's names (`torch_names`).
        ConfigError: variables that are missing or unexpected; all are listed.
    """
    if isinstance(model, str):
        model = create_model(model)
    names = _torch_names(model)
    flat = flatten_dict(dict(variables), sep="/")
    problems = [f"missing: {path}" for path in names.values() if path not in flat]
    problems += [f"unexpected: {path}" for path in flat if path not in names.values()]
    if problems:
        raise ConfigError(
            f"these variables are not those of {type(model).__name__} "
            f"({len(problems)} of {len(names)} entries):\n  " + "\n  ".join(problems)
        )
    state = {}
    for name, path in names.items():
        # A copy, because PyTorch shares the memory of an array and writes to it.
        state[name] = np.array(_torch_layout(np.asarray(flat[path])), order="C")
        if name.endswith("running_var"):
            counter = name.removesuffix("running_var") + "num_batches_tracked"
            state[counter] = np.zeros((), np.int64)
    return state


def _torch_names(model: nn.Module) -> dict[str, str]:
    if not hasattr(model, "torch_names"):
        raise TypeError(
            f"{type(model).__name__} has no table of PyTorch's names, so its weights cannot be "
            "converted; add a method torch_names to the class"
        )
    return model.torch_names()


def _names_left_out(model: nn.Module) -> dict[str, str]:
    """PyTorch's names with auxiliary classifiers and the last layer, for a model without them."""
    whole: dict[str, Any] = {}
    if not getattr(model, "aux_logits", True):
        whole["aux_logits"] = True
    if not getattr(model, "num_classes", 1):
        whole["num_classes"] = 1
    return _torch_names(model.clone(**whole)) if whole else {}


def _our_layout(array: np.ndarray) -> np.ndarray:
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    return array.T


def _torch_layout(array: np.ndarray) -> np.ndarray:
    if array.ndim == 4:
        return array.transpose(3, 2, 0, 1)
    return array.T


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) == 4:
        return shape[3], shape[2], shape[0], shape[1]
    return shape[::-1]
