"""Max, average and global average pooling of NHWC images, with PyTorch's numerics."""

import math

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from cnn_jax.layers.windows import Padding, Pads, Size, output_size, pads, pair


def max_pool(
    x: Float[Array, "batch height width channels"],
    window: Size,
    stride: Size | None = None,
    padding: Padding = 0,
) -> Float[Array, "batch out_height out_width channels"]:
    """Maximum over windows, as `torch.nn.functional.max_pool2d`.

    Among equal values the gradient goes to the first one of the window, row by row.

    Args:
        x: images.
        window: height and width of the window.
        stride: distance of windows; None is the window itself.
        padding: added around the image with -inf, at most half a window.

    Raises:
        ValueError: padding larger than half a window, or a window larger than the padded image.
    """
    window, stride, padding = _geometry(x.shape[1:3], window, stride, padding)
    return lax.reduce_window(
        x, -jnp.inf, lax.max, (1, *window, 1), (1, *stride, 1), ((0, 0), *padding, (0, 0))
    )


def avg_pool(
    x: Float[Array, "batch height width channels"],
    window: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    count_include_pad: bool = True,
) -> Float[Array, "batch out_height out_width channels"]:
    """Mean over windows, as `torch.nn.functional.avg_pool2d`.

    Args:
        x: images.
        window: height and width of the window.
        stride: distance of windows; None is the window itself.
        padding: zeros added around the image, at most half a window.
        count_include_pad: divide by the window's area; False divides by the number of those of
            its pixels that lie in the image.

    Raises:
        ValueError: padding larger than half a window, or a window larger than the padded image.
    """
    window, stride, padding = _geometry(x.shape[1:3], window, stride, padding)

    def window_sum(values: Array) -> Array:
        return lax.reduce_window(
            values, 0.0, lax.add, (1, *window, 1), (1, *stride, 1), ((0, 0), *padding, (0, 0))
        )

    if count_include_pad or padding == ((0, 0), (0, 0)):
        return window_sum(x) / math.prod(window)
    return window_sum(x) / window_sum(jnp.ones((1, *x.shape[1:3], 1), x.dtype))


def global_avg_pool(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, "batch channels"]:
    """Mean over all pixels."""
    return jnp.mean(x, axis=(1, 2))


def _geometry(
    image: tuple[int, ...], window: Size, stride: Size | None, padding: Padding
) -> tuple[tuple[int, int], tuple[int, int], Pads]:
    window = pair(window)
    strides = window if stride is None else pair(stride)
    sides = pads(padding)
    if any(2 * side > size for size, both in zip(window, sides, strict=True) for side in both):
        raise ValueError(
            f"padding {padding} must be at most half of the window {window}, "
            "or a window could lie outside of the image"
        )
    output_size((image[0], image[1]), window, strides, sides)
    return window, strides, sides
