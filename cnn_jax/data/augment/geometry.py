"""Deterministic moves of one example: pad, crop, flip, crop and resize, rotate, translate, zoom.

Each function states once where points go. The image is interpolated bilinearly, mask and instances
by nearest neighbour. A box becomes the upright hull of its moved corners, clipped to the image.
Pixel i covers [i, i + 1), so its centre is at i + 1/2.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Integer

from cnn_jax.data.augment.example import IGNORED, Example

Image = Float[Array, "height width channels"]
Mask = Integer[Array, "height width"]  # also instances
NewImage = Float[Array, "new_height new_width channels"]
NewMask = Integer[Array, "new_height new_width"]
Scalar = Float[Array, ""] | float
Whole = Int[Array, ""] | int
Points = tuple[Array, Array]
"""The x and y coordinates of points, in arrays of equal shapes."""


def pad(example: Example, padding: int, mode: Literal["zeros", "reflect"] = "zeros") -> Example:
    """Adds `padding` pixels on all four sides.

    With "zeros" they are black, `IGNORED` in the mask and 0 in the instances. With "reflect" image
    and mask are mirrored (`numpy.pad`); a mirrored object has no box, and 0 in the instances.
    """
    sides = (padding, padding)

    def image(values: Image) -> NewImage:
        if mode == "reflect":
            return jnp.pad(values, (sides, sides, (0, 0)), mode="reflect")
        return jnp.pad(values, (sides, sides, (0, 0)))

    def mask(values: Mask, outside: int) -> NewMask:
        if mode == "reflect" and outside == IGNORED:
            return jnp.pad(values, (sides, sides), mode="reflect")
        return jnp.pad(values, (sides, sides), constant_values=outside)

    return _move(example, image, mask, lambda x, y: (x + padding, y + padding))


def crop(example: Example, top: Whole, left: Whole, size: tuple[int, int]) -> Example:
    """Cuts out `size` (height, width) pixels whose upper left pixel is (top, left)."""

    def image(values: Image) -> NewImage:
        return jax.lax.dynamic_slice(values, (top, left, 0), (*size, values.shape[-1]))

    def mask(values: Mask, _: int) -> NewMask:
        return jax.lax.dynamic_slice(values, (top, left), size)

    return _move(example, image, mask, lambda x, y: (x - left, y - top))


def flip(example: Example) -> Example:
    """Exchanges left and right."""
    width = example["image"].shape[1]
    return _move(
        example,
        lambda image: image[:, ::-1],
        lambda mask, _: mask[:, ::-1],
        lambda x, y: (width - x, y),
    )


def crop_and_resize(
    example: Example, top: Whole, left: Whole, height: Whole, width: Whole, size: tuple[int, int]
) -> Example:
    """Cuts out height x width pixels at (top, left) and resizes them to `size` (height, width).

    Bilinear with antialiasing, as `torchvision.transforms.functional.resized_crop`; pixels
    outside of the part have no influence. Mask and instances: `InterpolationMode.NEAREST_EXACT`.
    The part may be traced, so that one program crops every size.
    """
    new_height, new_width = size

    def image(values: Image) -> NewImage:
        rows = _resize_weights(values.shape[0], top, height, new_height, values.dtype)
        columns = _resize_weights(values.shape[1], left, width, new_width, values.dtype)
        # Two matrix products, which accelerators would compute with fewer bits by default.
        highest = jax.lax.Precision.HIGHEST
        return jnp.einsum("yi,ijc,xj->yxc", rows, values, columns, precision=highest)

    def mask(values: Mask, _: int) -> NewMask:
        # The pixel that contains the point (i + 1/2) * old / new, in integer arithmetic.
        rows = top + (2 * jnp.arange(new_height) + 1) * height // (2 * new_height)
        columns = left + (2 * jnp.arange(new_width) + 1) * width // (2 * new_width)
        return values[rows][:, columns]

    def points(x: Array, y: Array) -> Points:
        return (x - left) * new_width / width, (y - top) * new_height / height

    return _move(example, image, mask, points)


def rotate(example: Example, degrees: Scalar) -> Example:
    """Rotates counter-clockwise about the centre. Pixels from outside are black.

    As `torchvision.transforms.functional.rotate` with bilinear interpolation.
    """
    angle = jnp.deg2rad(jnp.asarray(degrees, example["image"].dtype))
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return _warp(
        example,
        forward=lambda x, y: (cos * x + sin * y, cos * y - sin * x),
        backward=lambda x, y: (cos * x - sin * y, cos * y + sin * x),
    )


def translate(example: Example, right: Scalar | Whole, down: Scalar | Whole) -> Example:
    """Moves by `right` and `down` pixels. Pixels from outside are black.

    As `torchvision.transforms.functional.affine` with `translate`.
    """
    return _warp(
        example,
        forward=lambda x, y: (x + right, y + down),
        backward=lambda x, y: (x - right, y - down),
    )


def zoom(example: Example, factor: Scalar) -> Example:
    """Enlarges by `factor` about the centre, at the same size. Pixels from outside are black.

    As `torchvision.transforms.functional.affine` with `scale`: without antialiasing, so a factor
    below 1/2 skips pixels.
    """
    return _warp(
        example,
        forward=lambda x, y: (x * factor, y * factor),
        backward=lambda x, y: (x / factor, y / factor),
    )


def _warp(
    example: Example,
    forward: Callable[[Array, Array], Points],
    backward: Callable[[Array, Array], Points],
) -> Example:
    """Moves points, relative to the centre, by `forward`. `backward` is its inverse."""
    height, width, _ = example["image"].shape
    dtype = example["image"].dtype
    y, x = jnp.meshgrid(
        jnp.arange(height, dtype=dtype) + (0.5 - height / 2),
        jnp.arange(width, dtype=dtype) + (0.5 - width / 2),
        indexing="ij",
    )
    x, y = backward(x, y)
    x, y = x + width / 2, y + height / 2

    def points(x: Array, y: Array) -> Points:
        x, y = forward(x - width / 2, y - height / 2)
        return x + width / 2, y + height / 2

    return _move(
        example,
        lambda image: _bilinear(image, x, y),
        lambda mask, outside: _nearest(mask, x, y, outside),
        points,
    )


def _move(
    example: Example,
    image: Callable[[Image], NewImage],
    mask: Callable[[Mask, int], NewMask],
    points: Callable[[Array, Array], Points],
) -> Example:
    """Moves every entry. `mask` is called with an array and its value outside of the image."""
    moved = example | {"image": image(example["image"])}
    for name, outside in (("mask", IGNORED), ("instances", 0)):
        if name in example:
            moved[name] = mask(example[name], outside)
    if "boxes" in example:
        height, width, _ = moved["image"].shape
        moved["boxes"] = _move_boxes(example["boxes"], points, height, width)
        if "box_labels" in example:
            labels = example["box_labels"]
            moved["box_labels"] = jnp.where(_have_area(moved["boxes"]), labels, -1)
    return moved


def _move_boxes(
    boxes: Float[Array, "n 4"], points: Callable[[Array, Array], Points], height: int, width: int
) -> Float[Array, "n 4"]:
    x0, y0, x1, y1 = boxes.T
    x, y = points(jnp.stack([x0, x1, x1, x0]), jnp.stack([y0, y0, y1, y1]))
    x, y = jnp.clip(x, 0, width), jnp.clip(y, 0, height)
    moved = jnp.stack([x.min(axis=0), y.min(axis=0), x.max(axis=0), y.max(axis=0)], axis=-1)
    # A box that has left the image must not come back as the hull of its rotated edge.
    kept = _have_area(boxes) & _have_area(moved)
    return jnp.where(kept[:, None], moved, 0).astype(boxes.dtype)


def _have_area(boxes: Float[Array, "n 4"]) -> Array:
    return (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


def _bilinear(image: Image, x: Float[Array, "y x"], y: Float[Array, "y x"]) -> Image:
    """The image's values at points; the image is 0 outside."""
    height, width, _ = image.shape
    left, top = jnp.floor(x - 0.5), jnp.floor(y - 0.5)
    right_share, lower_share = x - 0.5 - left, y - 0.5 - top
    total = jnp.zeros((*x.shape, image.shape[-1]), image.dtype)
    for row, row_share in ((top, 1 - lower_share), (top + 1, lower_share)):
        for column, column_share in ((left, 1 - right_share), (left + 1, right_share)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            share = jnp.where(inside, row_share * column_share, 0)
            values = image[
                jnp.clip(row, 0, height - 1).astype(int), jnp.clip(column, 0, width - 1).astype(int)
            ]
            total += share[..., None] * values
    return total


def _nearest(mask: Mask, x: Float[Array, "y x"], y: Float[Array, "y x"], outside: int) -> Mask:
    """The values of the pixels that contain the points."""
    height, width = mask.shape
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    rows = jnp.clip(jnp.floor(y), 0, height - 1).astype(int)
    columns = jnp.clip(jnp.floor(x), 0, width - 1).astype(int)
    return jnp.where(inside, mask[rows, columns], jnp.asarray(outside, mask.dtype))


def _resize_weights(
    size: int, start: Whole, length: Whole, new_size: int, dtype: jnp.dtype
) -> Float[Array, "new_size size"]:
    """The weight of each of `size` pixels of a line in each of the `new_size` resized pixels.

    A triangle as wide as the larger of the old and the new pixel, cut off at the ends of the part.
    """
    scale = jnp.asarray(length, dtype) / new_size
    centres = (jnp.arange(new_size, dtype=dtype) + 0.5) * scale
    places = jnp.arange(size, dtype=dtype) + 0.5 - start
    distances = jnp.abs(places[None, :] - centres[:, None])
    weights = jnp.maximum(0, 1 - distances / jnp.maximum(scale, 1))
    weights = jnp.where((places > 0) & (places < length), weights, 0)
    return weights / weights.sum(axis=1, keepdims=True)
