"""Normalizations that see one example at a time: layer, group, instance, L2 and local response.

Their results depend neither on the other examples of the batch nor on training or evaluation, as
those of batch normalization do (`batch_norm`). Statistics are float32 or wider, whatever the dtype
of the input.
"""

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jax import lax
from jaxtyping import Array, Float, Shaped

from cnn_jax.layers.arguments import as_float, check_axes, wide
from cnn_jax.layers.channels import per_channel


def layer_norm(
    x: Shaped[Array, "*batch channels"],
    scale: Float[Array, " channels"],
    bias: Float[Array, " channels"],
    eps: float = 1e-5,
) -> Float[Array, "*batch channels"]:
    """Normalize the channels at each position, as `torch.nn.functional.layer_norm`.

    (x - mean) / sqrt(variance + eps) * scale + bias, with mean and biased variance over the last
    axis. Source: Ba et al. 2016, equation 4.

    Args:
        x: activations.
        scale: factor of each channel after normalization.
        bias: addend of each channel after normalization.
        eps: added to the variance.

    Raises:
        ValueError: if scale or bias do not fit the channels.
    """
    check_axes("*batch channels", x=x)
    x = as_float(x)
    y = _standardize(x.astype(wide(x, scale)), (-1,), eps)
    return _affine(y, scale, bias).astype(jnp.result_type(x, scale))


def group_norm(
    x: Shaped[Array, "batch *space channels"],
    groups: int,
    scale: Float[Array, " channels"],
    bias: Float[Array, " channels"],
    eps: float = 1e-5,
) -> Float[Array, "batch *space channels"]:
    """Normalize groups of neighbouring channels, as `torch.nn.functional.group_norm`.

    Mean and biased variance are taken over the pixels of one example and the channels of one group.
    One group normalizes the whole example; a group for each channel is instance normalization.
    Source: Wu and He 2018, section 3.1.

    Args:
        x: activations.
        groups: number of groups, a divisor of the number of channels.
        scale: factor of each channel after normalization.
        bias: addend of each channel after normalization.
        eps: added to the variance.

    Raises:
        ValueError: if the channels cannot be split into that many groups, or scale or bias do not
            fit them.
    """
    check_axes("batch *space channels", x=x)
    x = as_float(x)
    channels = x.shape[-1]
    if groups < 1 or channels % groups:
        raise ValueError(
            f"{channels} channels (input {x.shape}) cannot be split into {groups} groups; "
            "the number of groups must be a divisor of the number of channels"
        )
    grouped = x.astype(wide(x, scale)).reshape(*x.shape[:-1], groups, channels // groups)
    y = _standardize(grouped, (*range(1, x.ndim - 1), x.ndim), eps).reshape(x.shape)
    return _affine(y, scale, bias).astype(jnp.result_type(x, scale))


def instance_norm(
    x: Shaped[Array, "batch *space channels"],
    scale: Float[Array, " channels"],
    bias: Float[Array, " channels"],
    eps: float = 1e-5,
) -> Float[Array, "batch *space channels"]:
    """Normalize each channel of an example, as `torch.nn.functional.instance_norm`.

    Mean and biased variance are taken over the pixels. This removes the contrast of an image.
    Source: Ulyanov et al. 2016, equation 4. It is `group_norm` with a group for each channel.

    Args:
        x: activations.
        scale: factor of each channel after normalization.
        bias: addend of each channel after normalization.
        eps: added to the variance.

    Raises:
        ValueError: if scale or bias do not fit the channels.
    """
    check_axes("batch *space channels", x=x)
    x = as_float(x)
    y = _standardize(x.astype(wide(x, scale)), tuple(range(1, x.ndim - 1)), eps)
    return _affine(y, scale, bias).astype(jnp.result_type(x, scale))


def adaptive_instance_norm(
    x: Shaped[Array, "batch *space channels"],
    style: Shaped[Array, "_batch *_space channels"],
    eps: float = 1e-5,
) -> Float[Array, "batch *space channels"]:
    """Normalize each channel of an example to the mean and deviation that it has in another one.

    Source: Huang and Belongie 2017, equation 8.

    Args:
        x: activations.
        style: other activations, one example for each of x or one for all, of any size.
        eps: added to the variances.
    """
    mean, deviation = instance_statistics(style, eps)
    x_mean, x_deviation = instance_statistics(x, eps)
    values = as_float(x).astype(x_mean.dtype)
    y = (values - x_mean) / x_deviation * deviation + mean
    return y.astype(as_float(x).dtype)


def instance_statistics(
    x: Shaped[Array, "batch *space channels"], eps: float = 1e-5
) -> tuple[Float[Array, "batch *_ones channels"], Float[Array, "batch *_ones channels"]]:
    """Mean and standard deviation of each channel over the pixels of an example.

    Args:
        x: activations.
        eps: added to the biased variance, before its root.

    Returns:
        Both with axes of size 1 for the pixels, in float32 or wider.
    """
    check_axes("batch *space channels", x=x)
    values = as_float(x).astype(wide(as_float(x)))
    axes = tuple(range(1, values.ndim - 1))
    mean = jnp.mean(values, axes, keepdims=True)
    variance = jnp.mean(jnp.square(values - mean), axes, keepdims=True)
    return mean, jnp.sqrt(variance + eps)


def l2_normalize(
    x: Shaped[Array, "*batch channels"], eps: float = 1e-12
) -> Float[Array, "*batch channels"]:
    """Divide the channels at each position by their norm, as `torch.nn.functional.normalize`.

    x / max(sqrt(sum of x² over channels), eps). Where all channels are 0 the gradient is that of
    x / eps, as in PyTorch. Source: Liu et al. 2015, "ParseNet", section 3.3.

    Args:
        x: activations.
        eps: the least divisor.
    """
    check_axes("*batch channels", x=x)
    x = as_float(x)
    values = x.astype(wide(x))
    squares = jnp.sum(jnp.square(values), axis=-1, keepdims=True)
    # The derivative of a square root at 0 is infinite.
    norm = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)
    return (values / jnp.maximum(norm, eps)).astype(x.dtype)


def local_response_normalization(
    x: Shaped[Array, "*batch channels"],
    size: int,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
) -> Float[Array, "*batch channels"]:
    """Divide by the activity of near channels, as `torch.nn.functional.local_response_norm`.

    x / (k + alpha / size * sum of x² over `size` channels)^beta. The window of a channel begins
    size // 2 channels before it. Channels that do not exist count as zeros.

    AlexNet (Krizhevsky et al. 2012, section 3.3) does not divide alpha by the size. Its
    alpha = 1e-4, size = 5, beta = 0.75 and k = 2 are `alpha=5e-4, size=5, k=2` here. (torchvision's
    AlexNet has no such layer.)

    Args:
        x: activations.
        size: number of channels in a window.
        alpha: factor of the mean square in a window.
        beta: exponent.
        k: constant added to the mean square.

    Raises:
        ValueError: if the size is less than 1.
    """
    if size < 1:
        raise ValueError(f"the window must have at least 1 channel, got size {size}")
    check_axes("*batch channels", x=x)
    x = as_float(x)
    values = x.astype(wide(x))
    window = (*[1] * (x.ndim - 1), size)
    padding = [(0, 0)] * (x.ndim - 1) + [(size // 2, (size - 1) // 2)]
    strides = (1,) * x.ndim
    sums = lax.reduce_window(jnp.square(values), 0.0, lax.add, window, strides, padding)
    return (values / (k + alpha / size * sums) ** beta).astype(x.dtype)


class LayerNorm(nn.Module):
    """Layer normalization over the last axis, as `torch.nn.LayerNorm`.

    Parameters `scale` and `bias` [channels].

    Attributes:
        eps: added to the variance.
        dtype: dtype of the output; None promotes input and parameters.
    """

    eps: float = 1e-5
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: Shaped[Array, "*batch channels"]) -> Float[Array, "*batch channels"]:
        check_axes("*batch channels", x=x)
        scale = self.param("scale", nn.initializers.ones_init(), (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros_init(), (x.shape[-1],))
        y = layer_norm(x, scale, bias, self.eps)
        return y if self.dtype is None else y.astype(self.dtype)


class GroupNorm(nn.Module):
    """Group normalization, as `torch.nn.GroupNorm`.

    Parameters `scale` and `bias` [channels].

    Attributes:
        groups: number of groups, a divisor of the number of channels.
        eps: added to the variance.
        dtype: dtype of the output; None promotes input and parameters.
    """

    groups: int
    eps: float = 1e-5
    dtype: Dtype | None = None

    @nn.compact
    def __call__(
        self, x: Shaped[Array, "batch *space channels"]
    ) -> Float[Array, "batch *space channels"]:
        check_axes("batch *space channels", x=x)
        scale = self.param("scale", nn.initializers.ones_init(), (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros_init(), (x.shape[-1],))
        y = group_norm(x, self.groups, scale, bias, self.eps)
        return y if self.dtype is None else y.astype(self.dtype)


class InstanceNorm(nn.Module):
    """Instance normalization, as `torch.nn.InstanceNorm2d` with `affine=True`.

    Parameters `scale` and `bias` [channels].

    Attributes:
        eps: added to the variance.
        dtype: dtype of the output; None promotes input and parameters.
    """

    eps: float = 1e-5
    dtype: Dtype | None = None

    @nn.compact
    def __call__(
        self, x: Shaped[Array, "batch *space channels"]
    ) -> Float[Array, "batch *space channels"]:
        check_axes("batch *space channels", x=x)
        scale = self.param("scale", nn.initializers.ones_init(), (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros_init(), (x.shape[-1],))
        y = instance_norm(x, scale, bias, self.eps)
        return y if self.dtype is None else y.astype(self.dtype)


def _standardize(x: Array, axes: tuple[int, ...], eps: float) -> Array:
    """Mean 0 and variance 1 over the axes; mean first, because E[x²] - E[x]² cancels."""
    centered = x - jnp.mean(x, axes, keepdims=True)
    variance = jnp.mean(jnp.square(centered), axes, keepdims=True)
    return centered * lax.rsqrt(variance + eps)


def _affine(x: Array, scale: Array, bias: Array) -> Array:
    if not scale.shape == bias.shape == x.shape[-1:]:
        raise ValueError(
            f"scale and bias must have one value for each of the {x.shape[-1]} channels "
            f"(input {x.shape}), got shapes {scale.shape} and {bias.shape}"
        )
    scale, bias = scale.astype(x.dtype), bias.astype(x.dtype)
    return x * per_channel(scale, x) + per_channel(bias, x)
