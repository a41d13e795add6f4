"""Batch normalization with PyTorch's numerics, under one contract.

Running statistics live in the collection `batch_stats`. `train=True` normalizes with the batch's
statistics and moves the running ones towards them; `train=False` and `frozen=True` use the running
ones and leave them. Statistics are those of the global batch: by themselves under `jit` over a
mesh, through `axis_name` under `pmap`.
"""

import math

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype, Initializer
from jax import lax
from jaxtyping import Array, Float


def batch_moments(
    x: Float[Array, "*batch channels"], axis_name: str | None = None
) -> tuple[Float[Array, " channels"], Float[Array, " channels"], int]:
    """Mean, biased variance and number n of the values of each channel.

    The variance is computed in two passes, mean first, because E[x²] - E[x]² cancels.

    Args:
        x: activations, in float32 or wider.
        axis_name: mapped axis (`pmap`) over whose devices the moments are taken.
    """
    axes = tuple(range(x.ndim - 1))
    n = math.prod(x.shape[:-1])
    mean = jnp.mean(x, axes)
    if axis_name is not None:
        n *= lax.axis_size(axis_name)
        mean = lax.pmean(mean, axis_name)
    variance = jnp.mean(jnp.square(x - jnp.expand_dims(mean, axes)), axes)
    if axis_name is not None:
        variance = lax.pmean(variance, axis_name)
    return mean, variance, n


def normalize(
    x: Float[Array, "*batch channels"],
    mean: Float[Array, " channels"],
    variance: Float[Array, " channels"],
    scale: Float[Array, " channels"],
    bias: Float[Array, " channels"],
    eps: float,
) -> Float[Array, "*batch channels"]:
    """(x - mean) / sqrt(variance + eps) * scale + bias, for each channel."""
    axes = tuple(range(x.ndim - 1))
    factor = jnp.expand_dims(lax.rsqrt(variance + eps) * scale, axes)
    return (x - jnp.expand_dims(mean, axes)) * factor + jnp.expand_dims(bias, axes)


class BatchNorm(nn.Module):
    """Batch normalization, as `torch.nn.BatchNorm2d` (Ioffe and Szegedy 2015).

    Parameters `scale` and `bias` [channels]; `batch_stats` `mean` and `var` [channels], where
    `var` is the unbiased variance over the global batch. Statistics are float32 or wider
    whatever the input.

    Attributes:
        momentum: weight of the new batch in the running statistics (PyTorch's meaning; Flax's
            momentum is 1 minus it).
        eps: added to the variance.
        frozen: always use the running statistics and never update them, as
            `torchvision.ops.FrozenBatchNorm2d`; scale and bias still have gradients.
        axis_name: mapped axis (`pmap`) over whose devices the statistics are taken in training.
        dtype: dtype of the output; None promotes input and parameters.
        scale_init: initializer of the scale.

    Raises:
        ValueError: one value a channel in training, of which there is no variance.
    """

    momentum: float = 0.1
    eps: float = 1e-5
    frozen: bool = False
    axis_name: str | None = None
    dtype: Dtype | None = None
    scale_init: Initializer = nn.initializers.ones_init()

    @nn.compact
    def __call__(
        self, x: Float[Array, "*batch channels"], *, train: bool
    ) -> Float[Array, "*batch channels"]:
        channels = x.shape[-1]
        scale = self.param("scale", self.scale_init, (channels,))
        bias = self.param("bias", nn.initializers.zeros_init(), (channels,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,))
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,))
        dtype = self.dtype or jnp.result_type(x, scale)
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        if not train or self.frozen or self.is_initializing():
            mean, variance = running_mean.value, running_var.value
        else:
            mean, variance, n = batch_moments(x, self.axis_name)
            if n < 2:
                raise ValueError(
                    f"BatchNorm in training needs more than one value a channel, got {n} "
                    f"(input {x.shape}); use a larger batch or image, or frozen statistics"
                )
            unbiased = variance * (n / (n - 1))
            running_mean.value += self.momentum * (mean - running_mean.value)
            running_var.value += self.momentum * (unbiased - running_var.value)
        return normalize(x, mean, variance, scale, bias, self.eps).astype(dtype)
