"""Changing the size of images: nearest, bilinear, and strided downscaling."""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, DTypeLike, Float, Shaped

from cnn_jax.layers.arguments import IMAGES, Images, as_images, check_axes, wide
from cnn_jax.layers.separable import map_axes
from cnn_jax.layers.windows import Size, pair, target_size


def resize_nearest(
    x: Images, size: Size, *, exact: bool = False
) -> Shaped[Array, "batch out_height out_width channels"]:
    """Each output pixel is the nearest input pixel, as `torch.nn.functional.interpolate`.

    The output has the dtype of x, so that labels remain integers.

    Args:
        x: images.
        size: size of the output, one number or (height, width).
        exact: whether to take the pixel nearest to the output pixel's centre, PyTorch's mode
            "nearest-exact". False uses its upper left corner, the mode "nearest" of PyTorch and
            OpenCV.

    Raises:
        ValueError: if the output or the image has no pixels.
    """
    check_axes(IMAGES, x=x)
    height, width = target_size(x.shape[1:3], size)
    return _taken(_taken(x, 1, height, exact), 2, width, exact)


def resize_bilinear(
    x: Images,
    size: Size,
    *,
    align_corners: bool = False,
    antialias: bool = False,
) -> Float[Array, "batch out_height out_width channels"]:
    """Linear interpolation along both axes, as `torch.nn.functional.interpolate`.

    A pixel that is not finite makes its whole image NaN.

    Args:
        x: images.
        size: size of the output, one number or (height, width).
        align_corners: whether the centres of the corner pixels keep their places. False keeps the
            outer corners of the corner pixels and repeats the border.
        antialias: whether to widen the triangle filter by the factor by which the image shrinks, as
            Pillow does. With `align_corners` the filter is not symmetric, as in PyTorch.

    Raises:
        ValueError: if the output or the image has no pixels.
    """
    x = as_images(x)
    weights = _triangle if antialias else _linear
    height, width = target_size(x.shape[1:3], size)
    rows = weights(x.shape[1], height, align_corners)
    columns = weights(x.shape[2], width, align_corners)
    return map_axes(x, rows, columns)


def resize_from_corner(
    x: Images, size: Size
) -> Float[Array, "batch out_height out_width channels"]:
    """Linear interpolation from the upper left, as TensorFlow 1's `resize_bilinear` by default.

    Output pixel i lies at i * height / out_height of the image, so that the upper left pixel keeps
    its place and the whole image is shifted (`align_corners=False`, `half_pixel_centers=False`). A
    pixel that is not finite makes its whole image NaN.

    Args:
        x: images.
        size: size of the output, one number or (height, width).

    Raises:
        ValueError: if the output or the image has no pixels.
    """
    x = as_images(x)
    height, width = target_size(x.shape[1:3], size)
    rows = _from_corner(x.shape[1], height, wide(x))
    columns = _from_corner(x.shape[2], width, wide(x))
    return map_axes(x, rows, columns)


def resize_parts(
    x: Images, sizes: Shaped[Array, "batch 2"], size: Size
) -> Float[Array, "batch out_height out_width channels"]:
    """`resize_bilinear` of the images on a canvas, each of which has its own size.

    A pixel that is not finite makes its whole image NaN.

    Args:
        x: canvases with an image at the upper left.
        sizes: (height, width) of each image in pixels, at most those of the canvas.
        size: size of the output, one number or (height, width).

    Raises:
        ValueError: if the output or the canvas has no pixels.
    """
    x = as_images(x)
    target, dtype = target_size(x.shape[1:3], size), wide(x)
    rows, columns = (
        _linear_parts(sizes[:, axis].astype(dtype), x.shape[axis + 1], target[axis])
        for axis in (0, 1)
    )
    highest = lax.Precision.HIGHEST
    y = jnp.einsum("boh,bhwc->bowc", rows, x.astype(dtype), precision=highest)
    return jnp.einsum("bpw,bowc->bopc", columns, y, precision=highest).astype(x.dtype)


def subsample(x: Images, factor: Size) -> Shaped[Array, "batch out_height out_width channels"]:
    """Every factor-th row and column, starting with the first: strided downscaling, no smoothing.

    The output has the dtype of x.

    Args:
        x: images.
        factor: one number or (height, width).

    Raises:
        ValueError: if a factor is less than 1.
    """
    check_axes(IMAGES, x=x)
    vertical, horizontal = pair("factor", factor)
    if min(vertical, horizontal) < 1:
        raise ValueError(f"factor {(vertical, horizontal)} must be at least 1")
    return x[:, ::vertical, ::horizontal]


def _taken(x: Array, axis: int, out: int, exact: bool) -> Array:
    size = x.shape[axis]
    places = _nearest(size, out, exact)
    # A gather, and the scatter of its gradient, would take longer.
    if np.array_equal(places, np.repeat(np.arange(size), out // size)):
        return jnp.repeat(x, out // size, axis=axis)
    return jnp.take(x, places, axis=axis)


def _nearest(size: int, out: int, exact: bool) -> np.ndarray:
    """Index of the input pixel for each output pixel, computed in float32 as PyTorch does."""
    scale = np.float32(size) / np.float32(out)
    positions = (np.arange(out, dtype=np.float32) + np.float32(0.5 if exact else 0)) * scale
    return np.minimum(np.floor(positions).astype(np.int32), size - 1)


def _linear(size: int, out: int, align_corners: bool) -> np.ndarray:
    """Matrix [out, size] that weighs the two pixels around each position."""
    scale, pixel = _scale(size, out, align_corners), np.arange(out)
    return _between(pixel * scale if align_corners else (pixel + 0.5) * scale - 0.5, size)


def _from_corner(size: int, out: int, dtype: DTypeLike) -> np.ndarray:
    """`_linear` from the upper left; the scale is rounded to float32, as TensorFlow does."""
    return _between(np.arange(out).astype(dtype) * (np.float32(size) / np.float32(out)), size)


def _between(positions: np.ndarray, size: int) -> np.ndarray:
    """Matrix [positions, size] that weighs the two pixels around each position."""
    positions = np.clip(positions, 0, size - 1)
    return np.maximum(1 - np.abs(positions[:, None] - np.arange(size)), 0)


def _linear_parts(
    sizes: Float[Array, " batch"], canvas: int, out: int
) -> Float[Array, "batch out canvas"]:
    """`_linear` for the first pixels of a canvas, in a number of each image's own."""
    sizes, pixel = sizes[:, None], jnp.arange(out, dtype=sizes.dtype)[None, :]
    positions = jnp.clip((pixel + 0.5) * (sizes / out) - 0.5, 0, sizes - 1)
    places = jnp.arange(canvas, dtype=sizes.dtype)[None, None, :]
    return jnp.maximum(1 - jnp.abs(positions[:, :, None] - places), 0)


def _triangle(size: int, out: int, align_corners: bool) -> np.ndarray:
    """Matrix [out, size] that weighs pixels by a triangle of half the width max(scale, 1)."""
    scale = _scale(size, out, align_corners)
    centres = (np.arange(out) + 0.5) * scale
    distances = np.abs(np.arange(size) + 0.5 - centres[:, None])
    weights = np.maximum(1 - distances / max(scale, 1), 0)
    return weights / weights.sum(axis=1, keepdims=True)


def _scale(size: int, out: int, align_corners: bool) -> float:
    if align_corners:
        return (size - 1) / (out - 1) if out > 1 else 0.0
    return size / out
