"""Conversion of PyTorch's state dicts to our variables and back."""

import os
import warnings
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from cnn_jax.errors import ConfigError
from cnn_jax.finite import not_finite
from cnn_jax.models import create_model, example_shape
from cnn_jax.models.registry import IMAGENET
from cnn_jax.pretrained.option_a import zeros_moved_around, zeros_moved_behind
from cnn_jax.pretrained.renamed import (
    cifar_resnet_names,
    is_cifar_resnet,
    is_option_a,
    torchvision_names,
)
from cnn_jax.pretrained.state_dict import as_state_dict, beginnings, to_numpy

LISTED = 20
"""Largest number of problems in a message."""

Layout = Literal["torchvision", "pytorch_resnet_cifar10"]


def from_torch(
    model: str | nn.Module,
    state_dict: Mapping[str, Any] | str | os.PathLike,
    image_shape: tuple[int, ...] | None = None,
    *,
    averaged: bool | None = None,
    prefix: str = "",
    partial_head: bool = False,
) -> dict[str, Any]:
    """Variables (`params`, `batch_stats`) of a model from the state dict of its PyTorch original.

    Kernels change from OIHW to HWIO and from [out, in] to [in, out]. Values are float32, or float64
    if they are stored as float64 and JAX has it enabled. The names are torchvision's; timm's,
    older names of torchvision and those of two collections of ResNets for CIFAR are also accepted
    (see `torchvision_names`).

    Names and shapes do not say everything about a network. What they leave open is as in the
    model, and it is for the caller to choose the model that was trained:

    - LeNet-5: tanh and average pooling as in the paper, `lenet5`; ReLU and max pooling as in
      PyTorch's tutorial and most other PyTorch code, `cifar_lenet5` or
      `create_model("lenet5", activation="relu", pooling="max")`.
    - ResNets for CIFAR with option A: the zero channels lie behind the others. They lie half before
      and half after in akamaster/pytorch_resnet_cifar10, whose weights are recognized by the name
      `linear` of the classifier and reordered; a renamed classifier is not recognized.
    - Bottleneck ResNets: the 3x3 convolution has the stride, as in torchvision. Weights converted
      from Caffe or from MSRA's have it in the first 1x1 convolution and do not fit.
    - BatchNorm: eps is 1e-5 in ResNets (`norm_eps`) and VGG, 1e-3 in GoogLeNet and Inception v3.
    - GoogLeNet, Inception v3: torchvision's published weights need `transform_input=True`, or
      images normalized by a mean and a standard deviation of 0.5. Weights that FID is measured with
      are those of `fid_inception_v3`, whose pooling differs.
    - Preprocessing: weights converted from Caffe, such as VGG's, take BGR images in 0 to 255.

    Args:
        model: a module, or a name for `create_model`.
        state_dict: tensors or numpy arrays by PyTorch's names, or a file of them; checkpoints of
            training scripts are unwrapped (see `as_state_dict` and `read_checkpoint`). Counters of
            batches are ignored, and so are auxiliary classifiers if the model has
            `aux_logits=False`, and the last layer if it has `num_classes=0`.
        image_shape: height, width and channels of the images that the model is made for; only
            models without global pooling depend on the size. The default is `example_shape` of
            the name, and (224, 224, 3) for a module. For a generator, the size of its latents.
        averaged: which weights to take of a checkpoint that contains both: their moving average,
            or those of the last step. None takes the average and warns.
        prefix: take only the names that begin with it, such as "encoder_q.", and remove it.
        partial_head: leave out variables of the head that are missing or of another shape,
            and ignore other entries of the head, such as a projection. For networks whose head is
            replaced.

    Raises:
        ConfigError: a model without a table of PyTorch's names (`torch_names`); entries that are
            missing, unexpected, of another shape or kind or not finite; no state dict; tensors
            without ordinary values.
        UserError: a file that cannot be read.
    """
    if isinstance(model, str):
        image_shape = image_shape or example_shape(model)
        model = create_model(model)
    names = _torch_names(model)
    images = jnp.zeros((1, *(image_shape or IMAGENET)))
    shapes = flatten_dict(jax.eval_shape(model.init, jax.random.key(0), images), sep="/")
    entries = as_state_dict(state_dict, averaged=averaged, prefix=prefix)
    zeros_around = is_cifar_resnet(entries) and is_option_a(entries)
    entries = torchvision_names(entries)
    if not entries.keys() & names.keys():
        raise ConfigError(_no_name_fits(model, names, entries))

    head = {name: path for name, path in names.items() if path.startswith("params/head/")}
    modules = {name.partition(".")[0] for name in head}
    ignored = _names_left_out(model)
    problems, state = [], {}
    for name, path in names.items():
        expected = _torch_shape(shapes[path].shape)
        found = tuple(entries[name].shape) if name in entries else None
        if found == expected:
            state[name] = to_numpy(entries[name])
            problems += _unusable(name, state[name])
        elif partial_head and name in head:
            continue
        elif found is None:
            problems.append(f"missing: {name}")
        else:
            problems.append(f"misshapen: {name} is {found}, expected {expected}")
    for name in entries:
        of_head = name.partition(".")[0] in modules
        if not (name in names or name in ignored or (partial_head and of_head)):
            problems.append(f"unexpected: {name}")
    if problems:
        raise ConfigError(
            f"these weights do not fit {_title(model)} ({len(problems)} of {len(names)} entries)"
            + _listed(problems)
        )
    if note := getattr(model, "torch_note", ""):
        warnings.warn(note, stacklevel=2)
    if zeros_around:
        state = zeros_moved_behind(state)
    return unflatten_dict(
        {names[name]: jnp.asarray(_our_layout(array)) for name, array in state.items()}, sep="/"
    )


def to_torch(
    model: str | nn.Module, variables: Mapping[str, Any], layout: Layout = "torchvision"
) -> dict[str, np.ndarray]:
    """The state dict of a model's PyTorch original; the exact inverse of `from_torch`.

    It has all names of torchvision's `state_dict()`, in the order of our table. Counters of
    batches are zero. To load it in PyTorch:
    `model.load_state_dict({name: torch.as_tensor(array) for name, array in state.items()})`. To
    save it: `safetensors.numpy.save_file(state, "model.safetensors")`.

    Args:
        model: a module, or a name for `create_model`.
        variables: `params` and `batch_stats`, as returned by `init` and `from_torch`.
        layout: names and order of channels. "pytorch_resnet_cifar10" is that of the ResNets for
            CIFAR in akamaster/pytorch_resnet_cifar10: the classifier is `linear`, and with option A
            the zero channels lie half before and half after the others.

    Raises:
        ConfigError: a model without a table of PyTorch's names (`torch_names`); variables that
            are missing or unexpected; a model that the layout does not have.
    """
    if isinstance(model, str):
        model = create_model(model)
    names = _torch_names(model)
    flat = flatten_dict(dict(variables), sep="/")
    problems = [f"missing: {path}" for path in names.values() if path not in flat]
    problems += [f"unexpected: {path}" for path in flat if path not in names.values()]
    if problems:
        raise ConfigError(
            f"these variables are not those of {_title(model)} "
            f"({len(problems)} of {len(names)} entries)" + _listed(problems)
        )
    state = {name: _torch_layout(np.asarray(flat[path])) for name, path in names.items()}
    if layout != "torchvision":
        if not is_cifar_resnet(cifar_resnet_names(state)):
            raise ConfigError(f"layout {layout!r} is that of ResNets, got {_title(model)}")
        if is_option_a(state):
            state = zeros_moved_around(state)
        state = cifar_resnet_names(state)
    complete = {}
    for name, array in state.items():
        # A copy, because PyTorch shares the memory of an array and writes to it.
        complete[name] = np.array(array, order="C")
        if name.endswith("running_var"):
            counter = name.removesuffix("running_var") + "num_batches_tracked"
            complete[counter] = np.zeros((), np.int64)
    return complete


def _torch_names(model: nn.Module) -> dict[str, str]:
    if not hasattr(model, "torch_names"):
        raise ConfigError(
            f"{_title(model)} has no table of PyTorch's names, so its weights cannot be "
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


def _title(model: nn.Module) -> str:
    return type(model).__name__


def _no_name_fits(model: nn.Module, names: Mapping[str, str], entries: Mapping[str, Any]) -> str:
    """The message if no name is known, with the prefix below which names are known."""
    prefixes = Counter(
        entry[:end]
        for entry in entries
        for end, character in enumerate(entry, start=1)
        if character == "." and entry[end:] in names
    )
    found = f"none of the names in these weights is one of {_title(model)}"
    if prefixes:
        ((prefix, number),) = prefixes.most_common(1)
        return (
            f"{found}, but {number} of {len(names)} are with the prefix {prefix!r}: set "
            f"prefix={prefix!r} (in a command: --prefix {prefix})"
        )
    return (
        f"{found}: they begin with {', '.join(map(repr, beginnings(entries)))}, expected names "
        f"such as {next(iter(names))!r}"
    )


def _unusable(name: str, array: np.ndarray) -> list[str]:
    if not np.issubdtype(array.dtype, np.floating):
        return [f"not floating point: {name} is {array.dtype}"]
    return [f"not finite: {line}" for line in not_finite({name: array})]


def _listed(problems: list[str]) -> str:
    more = len(problems) - LISTED
    lines = problems[:LISTED] + ([f"and {more:,} more"] if more > 0 else [])
    return ":\n  " + "\n  ".join(lines)


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
