"""Inverse pooling: values return to their places, or to the corner of a block.

Outputs have the dtype of x.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int, Shaped

from cnn_jax.layers.arguments import IMAGES, Images, check_axes
from cnn_jax.layers.primitives import primitive, transpose_each_other
from cnn_jax.layers.windows import Size, pair, target_size


def max_unpool(
    x: Images,
    indices: Int[Array, "batch height width channels"],
    size: Size,
) -> Shaped[Array, "batch out_height out_width channels"]:
    """Put each value where `max_pool_with_indices` found it, among zeros.

    As `torch.nn.functional.max_unpool2d`. If indices repeat, because windows overlapped, the pixel
    has one of the values, and the gradient of each is that of the pixel, as in PyTorch.

    Args:
        x: pooled images.
        indices: row * out width + column of each value. Values with an index outside of the output
            are dropped (PyTorch raises an error, which compiled code cannot do).
        size: size of the output, one number or (height, width); PyTorch's `output_size`.

    Raises:
        ValueError: if indices and x have different shapes, or the output has no pixels.
    """
    check_axes(IMAGES, x=x, indices=indices)
    if indices.shape != x.shape:
        raise ValueError(f"indices of shape {indices.shape} do not belong to x of shape {x.shape}")
    height, width = target_size(x.shape[1:3], size)
    batch, rows, columns, channels = x.shape
    flat = (batch, rows * columns, channels)
    shape = (batch, height * width, channels)
    y = _put_p.bind(indices.reshape(flat), x.reshape(flat), shape=shape)
    return y.reshape(batch, height, width, channels)


def bed_of_nails(x: Images, factor: Size) -> Shaped[Array, "batch out_height out_width channels"]:
    """Each value in the upper left corner of a block of factor x factor pixels, zeros elsewhere.

    Args:
        x: images.
        factor: size of the blocks, one number or (height, width).

    Raises:
        ValueError: if a factor is less than 1.
    """
    check_axes(IMAGES, x=x)
    factor = pair("factor", factor)
    if min(factor) < 1:
        raise ValueError(f"factor {factor} must be at least 1")
    between = [(0, f - 1, f - 1) for f in factor]
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *between, (0, 0, 0)])


def _put(indices: Array, x: Array, *, shape: tuple[Any, ...]) -> Array:
    """Zeros [batch, size, channels] with x [batch, number, channels] at the indices."""

    def put(x: Array, indices: Array) -> Array:
        zeros, channel = jnp.zeros(shape[1:], x.dtype), jnp.arange(shape[2])[None, :]
        return zeros.at[indices, channel].set(x, mode="drop", wrap_negative_indices=False)

    return jax.vmap(put)(x, indices)


def _take(indices: Array, y: Array, *, shape: tuple[Any, ...]) -> Array:
    """The values of y [batch, size, channels] at the indices, zero where these lie outside."""
    inside = (indices >= 0) & (indices < y.shape[1])
    taken = jnp.take_along_axis(y, jnp.where(inside, indices, 0), axis=1)
    return jnp.where(inside, taken, 0)


# JAX's own gradient of `_put` would search, among repeated indices, for the one whose value was
# taken.
_put_p = primitive("max_unpool_put", _put)
_take_p = primitive("max_unpool_take", _take)
transpose_each_other(_put_p, _take_p)
