"""Max, average, adaptive and global pooling of NHWC images, with PyTorch's numerics."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from cnn_jax.layers.arguments import Images, as_images, wide
from cnn_jax.layers.separable import map_axes
from cnn_jax.layers.window_maximum import Windows, every, window_maximum
from cnn_jax.layers.windows import Padding, Pads, Size, output_size, pads, pair, target_size


def max_pool(
    x: Images,
    window: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    *,
    ceil_mode: bool = False,
) -> Float[Array, "batch out_height out_width channels"]:
    """Maximum over windows, as `torch.nn.functional.max_pool2d`.

    Among equal values, the first one of the window, row by row, has the gradient. The maximum of a
    window with a NaN is NaN.

    Args:
        x: images.
        window: height and width of the window.
        stride: distance between windows; None is the size of the window.
        padding: pixels of -inf added around the image, at most half a window.
        ceil_mode: whether a last window that reaches beyond the padded image counts, unless it
            begins beyond the image or in the padding at the bottom or right.

    Raises:
        ValueError: if the padding is larger than half a window, or the window is larger than the
            padded image.
    """
    x = as_images(x)
    at = _positions(x.shape[1:3], window, stride, padding, ceil_mode)
    return window_maximum(x, Windows(at.window, at.stride, at.sides))


def max_pool_with_indices(
    x: Images,
    window: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    *,
    ceil_mode: bool = False,
) -> tuple[
    Float[Array, "batch out_height out_width channels"],
    Int[Array, "batch out_height out_width channels"],
]:
    """`max_pool` and the place of each maximum, for `max_unpool`.

    As `torch.nn.functional.max_pool2d` with `return_indices`. An index is row * width + column in
    the image without padding. Among equal values it is that of the first one, row by row, and among
    NaNs that of the last one. Padding is never selected.

    Args:
        x, window, stride, padding, ceil_mode: as in `max_pool`.

    Returns:
        Values and int32 indices.

    Raises:
        ValueError: as in `max_pool`.
    """
    x = as_images(x)
    at = _positions(x.shape[1:3], window, stride, padding, ceil_mode)
    # Windows may overlap: the gradient of a pixel is a sum.
    padded = jnp.pad(x.astype(wide(x)), ((0, 0), *at.sides, (0, 0)), constant_values=-jnp.inf)
    first = padded[:, *(every(0, *axis) for axis in zip(at.stride, at.number, strict=True))]
    largest, index = jnp.full_like(first, -jnp.inf), jnp.full_like(first, -1, jnp.int32)
    # One tap of the window after another: slices, selections and their gradients are fast on every
    # device.
    for tap in np.ndindex(at.window):
        taken = (every(*axis) for axis in zip(tap, at.stride, at.number, strict=True))
        values = padded[:, *taken]
        row, column = (starts + t for starts, t in zip(at.starts, tap, strict=True))
        inside = np.outer((row >= 0) & (row < x.shape[1]), (column >= 0) & (column < x.shape[2]))
        position = np.add.outer(row * x.shape[2], column).astype(np.int32)
        larger = (values > largest) | jnp.isnan(values) | (index < 0)
        take = larger & inside[None, :, :, None]
        largest = jnp.where(take, values, largest)
        index = jnp.where(take, position[None, :, :, None], index)
    return largest.astype(x.dtype), index


def avg_pool(
    x: Images,
    window: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    *,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Float[Array, "batch out_height out_width channels"]:
    """Mean over windows, as `torch.nn.functional.avg_pool2d`.

    Args:
        x: images.
        window: height and width of the window.
        stride: distance between windows; None is the size of the window.
        padding: zeros added around the image, at most half a window.
        ceil_mode: as in `max_pool`; pixels beyond the padding are not counted.
        count_include_pad: whether to divide by the number of the window's pixels in the padded
            image, or by the number of those in the image itself.

    Raises:
        ValueError: if the padding is larger than half a window, or the window is larger than the
            padded image.
    """
    x = as_images(x)
    at = _positions(x.shape[1:3], window, stride, padding, ceil_mode)
    places = (1, *at.window, 1), (1, *at.stride, 1), ((0, 0), *at.sides, (0, 0))
    sums = lax.reduce_window(x.astype(wide(x)), 0.0, lax.add, *places)
    rows, columns = (
        np.minimum(starts + k, n + (after if count_include_pad else 0))
        - np.maximum(starts, -before if count_include_pad else 0)
        for starts, k, n, (before, after) in zip(
            at.starts, at.window, x.shape[1:3], pads(padding), strict=True
        )
    )
    return (sums / np.outer(rows, columns)[None, :, :, None].astype(sums.dtype)).astype(x.dtype)


def adaptive_avg_pool(x: Images, size: Size) -> Float[Array, "batch out_height out_width channels"]:
    """Mean over a given number of bins, as `torch.nn.functional.adaptive_avg_pool2d`.

    Along an axis of m pixels, bin i of n reaches from floor(i m / n) to ceil((i + 1) m / n). Bins
    overlap if n does not divide m, and repeat pixels if n is larger than m.

    Args:
        x: images.
        size: number of bins along both axes, or (height, width).

    Raises:
        ValueError: if the output or the image has no pixels.
    """
    x = as_images(x)
    height, width = target_size(x.shape[1:3], size)
    if (height, width) == x.shape[1:3]:
        return x
    return map_axes(x, _bins(x.shape[1], height), _bins(x.shape[2], width))


def _bins(size: int, number: int) -> np.ndarray:
    """Matrix [number, size] of means over overlapping bins."""
    bin, pixel = np.arange(number)[:, None], np.arange(size)
    starts, ends = bin * size // number, -((bin + 1) * -size // number)
    return ((starts <= pixel) & (pixel < ends)) / (ends - starts)


def global_avg_pool(x: Images) -> Float[Array, "batch channels"]:
    """Mean over all pixels."""
    return jnp.mean(as_images(x), axis=(1, 2))


def global_max_pool(x: Images) -> Float[Array, "batch channels"]:
    """Maximum over all pixels, as `torch.amax`. Equal maxima share the gradient."""
    x = as_images(x)
    # On CPUs, XLA's maximum ignores NaN in some programs.
    has_nan = jnp.any(jnp.isnan(x), axis=(1, 2))
    return jnp.where(has_nan, jnp.nan, jnp.max(x, axis=(1, 2)))


class _Positions(NamedTuple):
    window: tuple[int, int]
    stride: tuple[int, int]
    sides: Pads
    """Padding; at the bottom and right it ends where the last window ends."""
    number: tuple[int, int]
    starts: tuple[np.ndarray, np.ndarray]
    """Rows and columns of the image at which windows begin; negative in the padding."""


def _positions(
    image: tuple[int, ...],
    window: Size,
    stride: Size | None,
    padding: Padding,
    ceil_mode: bool,
) -> _Positions:
    window = pair("window", window)
    strides = window if stride is None else pair("stride", stride)
    sides = pads(padding)
    if any(2 * side > size for size, both in zip(window, sides, strict=True) for side in both):
        raise ValueError(
            f"padding {padding} must be at most half of the window {window}, "
            "or a window could lie outside of the image"
        )
    number = output_size((image[0], image[1]), window, strides, sides, ceil_mode=ceil_mode)
    (top, bottom), (left, right) = sides
    rows, columns = (np.arange(n) * s for n, s in zip(number, strides, strict=True))
    rows, columns = rows - top, columns - left
    bottom = max(bottom, int(rows[-1]) + window[0] - image[0])
    right = max(right, int(columns[-1]) + window[1] - image[1])
    return _Positions(window, strides, ((top, bottom), (left, right)), number, (rows, columns))
