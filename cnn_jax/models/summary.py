"""The layers of a model: their shapes, parameters, and multiplications."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.traverse_util import flatten_dict

from cnn_jax.errors import ConfigError
from cnn_jax.layers import Conv, ConvTranspose, Linear


@dataclass(frozen=True)
class LayerSummary:
    """A module of a model.

    Attributes:
        path: path of its parameters, such as "body/stem_conv"; "" is the model itself.
        kind: name of its class.
        output_shape: shape of its last output for one image, without the batch.
        parameters: number of its parameters, including modules that are not listed.
        macs: number of its multiply-accumulate operations, including modules that are not listed.
    """

    path: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    macs: int


def tabulate(
    model: nn.Module, image_shape: tuple[int, ...], *, depth: int | None = None
) -> list[LayerSummary]:
    """List all modules of a model in the order of their calls; a caller precedes its callees.

    Every parameter and operation is counted once, so a column sums to the model's total. MACs are
    those of convolutions, transposed convolutions and linear layers for one image in evaluation,
    including multiplications by padding zeros: what the papers and torchvision call FLOPs.
    Nothing is computed and no parameter is allocated.

    Layers are found by their modules. A convolution whose kernel belongs to another module, such
    as a tied decoder's, is not counted. Auxiliary classifiers are counted if the model has them.

    Args:
        model: a model whose `__call__` takes images.
        image_shape: height, width and channels of one image.
        depth: number of levels of modules listed below the model; None lists all.
    """
    calls: dict[tuple[str, ...], tuple[str, tuple[int, ...], int]] = {}

    def record(
        next_call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        module, path = context.module, context.module.path
        if context.method_name != "__call__":
            return next_call(*args, **kwargs)
        # Reserves a place before the modules that it calls.
        calls.setdefault(path, ("", (), 0))
        output = next_call(*args, **kwargs)
        kind, macs = type(module).__name__, calls[path][2]
        if isinstance(module, Conv | ConvTranspose | Linear):
            macs += _macs(module, args[0].shape, output.shape)
        calls[path] = (kind, _shape(output), macs)
        return output

    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    with nn.intercept_methods(record):
        variables = jax.eval_shape(model.init, jax.random.key(0), images)

    listed = [path for path in calls if depth is None or len(path) <= depth]
    parameters, macs = dict.fromkeys(listed, 0), dict.fromkeys(listed, 0)
    for path, leaf in flatten_dict(variables.get("params", {})).items():
        parameters[_listed_above(path, parameters)] += leaf.size
    for path, (_, _, count) in calls.items():
        macs[_listed_above(path, macs)] += count
    return [
        LayerSummary("/".join(path), *calls[path][:2], parameters[path], macs[path])
        for path in listed
    ]


def feature_shapes(model: nn.Module, image_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Shape of every feature of one image, without the batch, in forward order.

    The last axis is channels. Nothing is computed; for strides see a model's `feature_strides`.

    Args:
        model: a model with `features`.
        image_shape: height, width and channels of one image.

    Raises:
        ConfigError: a model without `features`.
    """
    if not hasattr(model, "features"):
        raise ConfigError(
            f"{type(model).__name__} has no method `features`; add "
            "features(self, x, *, train=False) that returns a dict of its arrays by name, in "
            "forward order"
        )
    shapes: dict[str, tuple[int, ...]] = {}

    def record(images: Any) -> None:
        features: Any
        features, _ = model.init_with_output(jax.random.key(0), images, method="features")
        # The traced dict is in forward order, but `eval_shape` would return it sorted.
        shapes.update({name: feature.shape[1:] for name, feature in features.items()})

    jax.eval_shape(record, jax.ShapeDtypeStruct((1, *image_shape), jnp.float32))
    return shapes


def _macs(module: nn.Module, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> int:
    # The whole kernel is applied at every position of the output; of the input, if transposed.
    places = (input_shape if isinstance(module, ConvTranspose) else output_shape)[:-1]
    return math.prod(places) * int(module.variables["params"]["kernel"].size)


def _shape(output: Any) -> tuple[int, ...]:
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, list):
        output = output[-1:]
    arrays = jax.tree.leaves(output)
    return tuple(arrays[0].shape[1:]) if arrays else ()  # as the features of a linear classifier


def _listed_above(path: tuple[str, ...], listed: Mapping[tuple[str, ...], int]) -> tuple[str, ...]:
    """The innermost listed module that contains `path`."""
    while path not in listed:
        path = path[:-1]
    return path
