"""The layers of a model: their shapes, parameters, and multiplications."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.traverse_util import flatten_dict

from cnn_jax.layers import Conv, ConvTranspose, Linear


@dataclass(frozen=True)
class LayerSummary:
    """One module of a model.

    Attributes:
        path: of its parameters, such as "body/stem_conv"; "" is the model itself.
        kind: name of its class.
        output_shape: for one image, without the batch; of the last one where it gives several.
        parameters: numbers that are trained, its own and those of modules that are not listed.
        macs: multiplications, each with an addition, of the same.
    """

    path: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    macs: int


def summarize(
    model: nn.Module, image_shape: tuple[int, ...], *, depth: int | None = None
) -> list[LayerSummary]:
    """All modules of a model in the order of their calls, each before those that it calls.

    Parameters and MACs are listed once, so that a column's sum is the model's. Multiplications are
    those of convolutions, transposed convolutions and linear layers for one image in evaluation,
    with those by the zeros of a padding: what the papers and torchvision call FLOPs. Nothing is
    computed and no parameter allocated, so that the largest model takes seconds.

    Layers are found by their modules: convolutions with a kernel that another module owns, such as
    a tied decoder's, are not counted. Auxiliary classifiers count where the model has them.

    Args:
        model: any of ours whose `__call__` takes images.
        image_shape: of one image, (height, width, channels).
        depth: levels of modules that are listed below the model; None lists all.
    """
    calls: dict[tuple[str, ...], tuple[str, tuple[int, ...], int]] = {}

    def record(
        next_call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        module, path = context.module, context.module.path
        if context.method_name != "__call__":
            return next_call(*args, **kwargs)
        # Its place is before those of the modules that it calls.
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
    """Shapes of a model's `features` of one image, in forward order; the last axis is channels.

    Nothing is computed. Strides alone are in the model's `feature_strides()`.

    Args:
        model: any of ours.
        image_shape: of one image, (height, width, channels).
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def record(images: Any) -> None:
        features: Any
        features, _ = model.init_with_output(jax.random.key(0), images, method="features")
        # The traced dict is in forward order, but `eval_shape` would return it sorted.
        shapes.update({name: feature.shape[1:] for name, feature in features.items()})

    jax.eval_shape(record, jax.ShapeDtypeStruct((1, *image_shape), jnp.float32))
    return shapes


def _macs(module: nn.Module, input_shape: tuple[int, ...], output_shape: tuple[int, ...]) -> int:
    # A place of the output takes every number of the kernel once; one that is transposed is spread
    # from every place of the input.
    places = (input_shape if isinstance(module, ConvTranspose) else output_shape)[:-1]
    return math.prod(places) * int(module.variables["params"]["kernel"].size)


def _shape(output: Any) -> tuple[int, ...]:
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, list):
        output = output[-1]
    return tuple(jax.tree.leaves(output)[0].shape[1:])


def _listed_above(path: tuple[str, ...], listed: Mapping[tuple[str, ...], int]) -> tuple[str, ...]:
    """The innermost module that is listed and holds `path`."""
    while path not in listed:
        path = path[:-1]
    return path
