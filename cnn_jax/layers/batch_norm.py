"""Batch normalization with PyTorch's numerics, under one contract.

Running statistics live in the collection `batch_stats`. `train=True` normalizes with the statistics
of the batch and updates the running statistics. `train=False` and `frozen=True` use the running
statistics and do not change them. The batch is always the global one: under `jit` over a mesh,
`pmap` and `jax.shard_map` the statistics are those of all devices together.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype, Initializer
from jax import lax
from jaxtyping import Array, Bool, Float, Shaped

from cnn_jax.layers.activations import Activation
from cnn_jax.layers.arguments import as_float, check_axes, wide
from cnn_jax.layers.channels import per_channel
from cnn_jax.layers.mesh_axes import mapped_axes, varying_like

Activations = Shaped[Array, "*batch channels"]
Normalized = Float[Array, "*batch channels"]
PerChannel = Float[Array, " channels"]
AxisName = str | tuple[str, ...]


def batch_norm(
    x: Activations,
    mean: PerChannel,
    variance: PerChannel,
    scale: PerChannel,
    bias: PerChannel,
    eps: float = 1e-5,
) -> Normalized:
    """(x - mean) / sqrt(variance + eps) * scale + bias, for each channel.

    Raises:
        ValueError: if an array has other axes.
    """
    check_axes("*batch channels", x=x)
    check_axes("channels", mean=mean, variance=variance, scale=scale, bias=bias)
    x = as_float(x)
    arrays = x, mean, variance, scale, bias
    dtype = jnp.result_type(*arrays)
    # The gradients of the numbers for each channel are sums.
    x, mean, variance, scale, bias = (array.astype(wide(*arrays)) for array in arrays)
    return _affine(x, mean, lax.rsqrt(variance + eps) * scale, bias).astype(dtype)


def _affine(x: Array, mean: Array, factor: Array, bias: Array) -> Array:
    return (x - per_channel(mean, x)) * per_channel(factor, x) + per_channel(bias, x)


def normalize_batch(
    x: Activations,
    scale: PerChannel,
    bias: PerChannel,
    eps: float = 1e-5,
    axis_name: AxisName | None = None,
    activation: Activation | None = None,
) -> tuple[Normalized, PerChannel, PerChannel]:
    """Normalize each channel by the mean and the biased variance of the batch.

    Where the compiler unites sums, mean and variance take one pass over x, and the gradient two:
    one for two sums over the batch, where the gradient that JAX derives has five, and one for the
    gradient of x. The derivative is written out (Ioffe and Szegedy 2015, section 3).

    Args:
        x: activations; kept for the gradient in their own dtype, which may be bfloat16.
        scale: factor after normalization; its dtype is that of all results, which are computed in
            float32 or wider.
        bias: addend after normalization.
        eps: added to the variance.
        axis_name: mapped axes (`pmap`, `jax.shard_map`, `vmap`) over which the statistics are
            taken. None and () are those of this device.
        activation: an elementwise function of the normalized activations. It costs no array that is
            kept for the gradient, which computes its derivative from x once more.

    Returns:
        The normalized activations, after the activation function, and mean and variance.

    Raises:
        ValueError: if an array has other axes.
    """
    check_axes("*batch channels", x=x)
    check_axes("channels", scale=scale, bias=bias)
    x, scale = as_float(x), as_float(scale)
    dtype = scale.dtype
    scale, bias = scale.astype(wide(scale)), bias.astype(wide(scale))
    alike = (varying_like(array, x, scale, bias) for array in (x, scale, bias))
    y, mean, variance = _normalize_batch(*alike, eps, axis_name or (), activation or _identity)
    return y.astype(dtype), mean.astype(dtype), variance.astype(dtype)


@partial(jax.custom_jvp, nondiff_argnums=(3, 4, 5))
def _normalize_batch(
    x: Array, scale: Array, bias: Array, eps: float, axis_name: AxisName, activation: Activation
) -> tuple[Array, Array, Array]:
    x = x.astype(scale.dtype)
    mean, variance = _mean_and_variance(x, axis_name)
    y = _affine(x, mean, lax.rsqrt(variance + eps) * scale, bias)
    return activation(y), mean, variance


def _mean_and_variance(x: Array, axis_name: AxisName) -> tuple[Array, Array]:
    """The mean and the biased variance of each channel, in one pass over images.

    E[x²] - E[x]² cancels. So the squares are taken about a value near the mean, that of the middle
    pixels of all images. What remains of the cancellation: where these alone differ from all other
    pixels, the relative rounding error is multiplied by the number of an image's pixels.
    """
    middle = (slice(None), *(size // 2 for size in x.shape[1:-1]))
    pixels = x[middle]
    # Divided before the sum: the quotient of a sum would be one more kernel on a GPU.
    near = jnp.sum(pixels / len(pixels), tuple(range(pixels.ndim - 1)))
    near = lax.pmean(near, axis_name) if axis_name else near
    centered = x - per_channel(near, x)
    offset, squares = _mean((centered, jnp.square(centered)), axis_name)
    variance = squares - jnp.square(offset)
    return near + offset, jnp.where(variance < 0, 0, variance)


@_normalize_batch.defjvp
def _derivative(
    eps: float,
    axis_name: AxisName,
    activation: Activation,
    primals: tuple[Array, Array, Array],
    tangents: tuple[Array, Array, Array],
) -> tuple[tuple[Array, Array, Array], tuple[Array, Array, Array]]:
    x, scale, bias = primals
    y, mean, variance = _normalize_batch(*primals, eps, axis_name, activation)

    # Recomputed from x in the gradient, so that no centered x is kept, which may be wider than x.
    @partial(jax.checkpoint, prevent_cse=False)
    def derivative(
        x: Array,
        numbers: tuple[Array, Array, Array, Array],
        tangents: tuple[Array, Array, Array],
    ) -> tuple[Array, Array, Array]:
        mean, variance, scale, bias = numbers
        of_x, of_scale, of_bias = tangents
        x, of_x = x.astype(scale.dtype), of_x.astype(scale.dtype)
        centered = x - per_channel(mean, x)
        of_mean, of_variance = _mean((of_x, 2 * centered * of_x), axis_name)
        inverse = lax.rsqrt(variance + eps)
        # The numbers of each channel are combined before they meet the batch: their two transposes
        # are the gradient's two sums over the batch.
        factor = scale * inverse
        along_centered = of_scale * inverse - 0.5 * factor * jnp.square(inverse) * of_variance
        constant = of_bias - factor * of_mean
        by_x = per_channel(factor, x) * of_x
        by_sums = per_channel(along_centered, x) * centered + per_channel(constant, x)
        if activation is _identity:
            return by_x + by_sums, of_mean, of_variance

        def activated(of_y: Array, numbers: tuple[Array, Array, Array]) -> Array:
            return jax.jvp(activation, (_affine(x, *numbers),), (of_y,))[1]

        # The gradient needs the derivative of the activation in its pass for the sums and again in
        # that for x. The barriers keep compilers from computing it once and storing it.
        for_x = lax.optimization_barrier((mean, factor, bias))
        for_sums = lax.optimization_barrier(for_x)
        return activated(by_x, for_x) + activated(by_sums, for_sums), of_mean, of_variance

    return (y, mean, variance), derivative(x, (mean, variance, scale, bias), tangents)


def _identity(x: Array) -> Array:
    return x


def normalize_rows(
    x: Activations,
    rows: Bool[Array, " batch"],
    scale: PerChannel,
    bias: PerChannel,
    eps: float = 1e-5,
    axis_name: AxisName | None = None,
) -> tuple[Normalized, PerChannel, PerChannel, Float[Array, ""]]:
    """`normalize_batch` of a batch with padding, which is normalized, but not in the statistics.

    Args:
        x, scale, bias, eps, axis_name: see `normalize_batch`.
        rows: which rows of the batch there are.

    Returns:
        The normalized activations, mean and variance, and the number of values of each channel.
        Without values, mean and variance are 0.
    """
    there = rows.reshape(-1, *[1] * (x.ndim - 1))
    x = x.astype(scale.dtype)

    def total(values: Array, axes: tuple[int, ...]) -> Array:
        added = jnp.sum(jnp.where(there, values, 0), axes)
        return lax.psum(added, axis_name) if axis_name else added

    axes = tuple(range(x.ndim - 1))
    n = total(jnp.full(there.shape, math.prod(x.shape[1:-1]), x.dtype), (*axes, x.ndim - 1))
    mean = total(x, axes) / jnp.maximum(n, 1)
    variance = total(jnp.square(x - per_channel(mean, x)), axes) / jnp.maximum(n, 1)
    return _affine(x, mean, lax.rsqrt(variance + eps) * scale, bias), mean, variance, n


def values_per_channel(x: Activations, axis_name: AxisName | None = None) -> int:
    """Number of values of each channel, over all devices of the mapped axes."""
    n = math.prod(x.shape[:-1])
    return n * lax.axis_size(axis_name) if axis_name else n


def _mean(x: Any, axis_name: AxisName) -> Any:
    """Means of each channel, of one array or several."""
    means = jax.tree.map(lambda x: jnp.mean(x, tuple(range(x.ndim - 1))), x)
    return lax.pmean(means, axis_name) if axis_name else means


class BatchNorm(nn.Module):
    """Batch normalization, as `torch.nn.BatchNorm2d` (Ioffe and Szegedy 2015).

    Parameters `scale` and `bias` [channels]; `batch_stats` `mean` and `var` [channels], where
    `var` is the unbiased variance over the global batch. Statistics are float32 or wider,
    whatever the dtype of the input.

    Attributes:
        momentum: weight of the new batch in the running statistics, as in PyTorch (Flax's momentum
            is 1 minus this).
        eps: added to the variance.
        frozen: always use the running statistics and never update them, as
            `torchvision.ops.FrozenBatchNorm2d`; scale and bias still have gradients.
        axis_name: mapped axes over which the statistics are taken in training. None is all axes of
            `pmap` and `jax.shard_map`, () is this device alone; an axis of `vmap` has to be named.
        dtype: dtype of the output; None promotes input and parameters.
        use_scale: whether there is a parameter `scale`; without it the scale is 1.
        use_bias: whether there is a parameter `bias`; without it the bias is 0.
        scale_init: initializer of the scale.
        activation: an elementwise function of the result. Given here instead of called on it, less
            is kept for the gradient, see `normalize_batch`.

    Raises:
        ValueError: in training, if there is only one value a channel, which has no variance.
    """

    momentum: float = 0.1
    eps: float = 1e-5
    frozen: bool = False
    axis_name: AxisName | None = None
    dtype: Dtype | None = None
    use_scale: bool = True
    use_bias: bool = True
    scale_init: Initializer = nn.initializers.ones_init()
    activation: Activation | None = None

    @nn.compact
    def __call__(
        self, x: Activations, *, train: bool, rows: Bool[Array, " batch"] | None = None
    ) -> Normalized:
        """Normalize x.

        Args:
            x: activations.
            train: whether the statistics are those of the batch.
            rows: which rows of the batch these are of, where the others are padding; None takes
                all. With fewer than two values a channel the running statistics stay as they are.
        """
        check_axes("*batch channels", x=x)
        x = as_float(x)
        channels = x.shape[-1]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,))
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,))
        scale, bias = jnp.ones_like(running_mean.value), jnp.zeros_like(running_mean.value)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros_init(), (channels,))
        if self.use_scale:
            scale = self.param("scale", self.scale_init, (channels,))
        dtype = self.dtype or jnp.result_type(x, scale)
        scale, bias = (array.astype(wide(x, scale)) for array in (scale, bias))
        if not train or self.frozen or self.is_initializing():
            y = batch_norm(x, running_mean.value, running_var.value, scale, bias, self.eps)
            return (self.activation or _identity)(y).astype(dtype)

        axis_name = mapped_axes() if self.axis_name is None else self.axis_name
        momentum: Any = self.momentum
        n: Any = values_per_channel(x, axis_name)
        if n < 2:
            raise ValueError(
                f"BatchNorm in training needs more than one value a channel, got {n} "
                f"(input {x.shape}); use a larger batch or image, or frozen statistics"
            )
        if rows is None:
            y, mean, variance = normalize_batch(
                x, scale, bias, self.eps, axis_name, self.activation
            )
        else:
            y, mean, variance, n = normalize_rows(x, rows, scale, bias, self.eps, axis_name)
            y = (self.activation or _identity)(y)
            momentum, n = jnp.where(n > 1, momentum, 0), jnp.maximum(n, 2)
        for running, batch in ((running_mean, mean), (running_var, variance * (n / (n - 1)))):
            moved = running.value + momentum * (batch - running.value)
            running.value = moved.astype(running.value.dtype)
        return y.astype(dtype)
