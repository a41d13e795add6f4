"""A network for images with another number of channels: its first convolution is adapted."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from cnn_jax.errors import ConfigError
from cnn_jax.pretrained.network import Network

Kernel = Float[Array | np.ndarray, "height width channels features"]
Adapted = Float[Array | np.ndarray, "height width out_channels features"]


def change_channels(network: Network, channels: int) -> Network:
    """A network and its preprocessing for images with another number of channels.

    The first convolution is adapted by `change_kernel_channels`. Channel i is normalized with the
    mean and standard deviation of channel i modulo their number; a single channel with their
    averages over the channels. `transform_input` is carried out by mean and standard deviation.

    Args:
        network: a network of images, for example of `load`.
        channels: number of channels of the images.

    Raises:
        ConfigError: a network without preprocessing, or whose first layer is no convolution.
    """
    scale: Any = network.preprocessing
    if scale is None:
        raise ConfigError(f"{network.title} takes no images")
    if len(scale.mean) == channels:
        return network
    model, mean, std = network.model, np.asarray(scale.mean), np.asarray(scale.std)
    if getattr(model, "transform_input", False):
        model, mean, std = model.clone(transform_input=False), np.full(3, 0.5), np.full(3, 0.5)
    height, width, before = scale.image_shape
    variables = flatten_dict(network.variables, sep="/")
    for path in _depend_on_channels(model, height, width, before, channels):
        if jnp.ndim(variables[path]) != 4:
            raise ConfigError(
                f"{network.title} takes images of {before} channels, got {channels}; only a "
                f"convolution can be adapted, and {path} has shape {jnp.shape(variables[path])}"
            )
        variables[path] = change_kernel_channels(variables[path], channels)
    if channels == 1:
        mean, std = mean.mean(keepdims=True), std.mean(keepdims=True)
    of_channel = np.arange(channels) % len(mean)
    return replace(
        network,
        model=model,
        variables=unflatten_dict(variables, sep="/"),
        preprocessing=replace(
            scale, mean=tuple(mean[of_channel].tolist()), std=tuple(std[of_channel].tolist())
        ),
    )


def change_kernel_channels(kernel: Kernel, channels: int) -> Adapted:
    """A kernel for another number of input channels, as timm adapts the first convolution.

    For one channel it is the sum over the channels, so that a gray image gives what it gave as
    equal channels. For more it is repeated, cut off, and scaled by the old number over the new one.

    Source: timm, models/_manipulate.py, `adapt_input_conv`, which allows only three channels
    before.
    """
    before = kernel.shape[2]
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    return kernel[:, :, np.arange(channels) % before] * (before / channels)


def _depend_on_channels(
    model: nn.Module, height: int, width: int, before: int, after: int
) -> list[str]:
    """Paths of the variables whose shape depends on the number of channels of the images."""
    key = jax.random.key(0)
    one, other = (
        flatten_dict(
            jax.eval_shape(model.init, key, jnp.zeros((1, height, width, channels))), sep="/"
        )
        for channels in (before, after)
    )
    return [path for path in one if one[path].shape != other[path].shape]
