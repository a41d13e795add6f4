"""A classifier's body as the encoder of a network that has an output for every pixel."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from cnn_jax.errors import ConfigError
from cnn_jax.layers import resize_bilinear
from cnn_jax.models.arrays import Images
from cnn_jax.models.registry import create_model

Encoder = str | nn.Module
"""A name for `create_model`, or a model with `features` and `feature_strides`."""


def make_encoder(encoder: Encoder, norm: str, dtype: Dtype | None, **attributes: Any) -> Any:
    """The classifier of an encoder, without its last layer.

    Only its `features` are called, so that no parameters of its head exist.

    Args:
        encoder: a name for `create_model`, or a model, which is taken as it is.
        norm: "frozen" is handed on; otherwise the model of that name has its own.
        dtype: handed on unless it is None.
        attributes: further attributes of the model of that name.

    Raises:
        ConfigError: an unknown name or attribute, or a model without maps.
    """
    if isinstance(encoder, str):
        attributes |= {"norm": norm} if norm == "frozen" else {}
        attributes |= {} if dtype is None else {"dtype": dtype}
        model = create_model(encoder, num_classes=0, **attributes)
    else:
        # A copy, because a module that is a field is bound to the name of the field.
        model = encoder.clone(parent=None, name=None)
    if not getattr(model, "feature_strides", dict)():
        raise ConfigError(
            f"{encoder_title(encoder)} has no feature maps, so it cannot be an encoder; take a "
            "convolutional classifier, such as 'vgg16' or 'resnet50'"
        )
    return model


def encoder_title(encoder: Encoder) -> str:
    """What a message calls it."""
    return repr(encoder) if isinstance(encoder, str) else type(encoder).__name__


def maps_by_stride(strides: Mapping[str, int]) -> dict[int, list[str]]:
    """The names of the maps of every stride, in forward order, of a model's `feature_strides`."""
    names: dict[int, list[str]] = {}
    for name, stride in strides.items():
        names.setdefault(stride, []).append(name)
    return names


def pad_to_multiple(
    x: Images, multiple: int
) -> Float[Array, "batch out_height out_width channels"]:
    """Zeros at the bottom and right, up to a multiple of a number of pixels."""
    _, height, width, _ = x.shape
    return jnp.pad(x, ((0, 0), (0, -height % multiple), (0, -width % multiple), (0, 0)))


def crop_to_image(x: Array, size: tuple[int, ...], multiple: int) -> Array:
    """Cut off what does not belong to an image of that size, before `pad_to_multiple`.

    Where a body has lost pixels at the border, as AlexNet's does, x is resized first.
    """
    height, width = size
    x = resize_to(x, (height + -height % multiple, width + -width % multiple))
    return x[:, :height, :width]


def resize_to(
    x: Float[Array, "batch height width channels"], size: tuple[int, ...]
) -> Float[Array, "batch out_height out_width channels"]:
    """Resize x to (height, width), bilinear, unless that is its size."""
    return x if x.shape[1:3] == size else resize_bilinear(x, (size[0], size[1]))
