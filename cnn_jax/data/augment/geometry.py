"""Deterministic moves of one example: pad, crop, flip, resize, rotate, translate, zoom, deform.

Each function states once where points go. The image is interpolated bilinearly, mask, instances and
pixel weights by nearest neighbour. A box becomes the upright hull of its moved corners, clipped to
the image. Pixel i covers [i, i + 1), so its centre is at i + 1/2.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from cnn_jax.data.augment.example import OUTSIDE, Example
from cnn_jax.data.augment.interpolation import (
    Image,
    NewImage,
    Plane,
    Whole,
    bilinear,
    nearest,
    nearest_pixels,
    resize_weights,
    weighted_sums,
)

NewPlane = Num[Array, "new_height new_width"]
Boxes = Float[Array, "n 4"]
Scalar = Float[Array, ""] | float
ROUNDING = 1e-3
"""Errors of places, in pixels, that do not make an image larger."""
Points = tuple[Array, Array]
"""The x and y coordinates of points, in arrays of equal shapes."""


def pad(example: Example, padding: int, mode: Literal["zeros", "reflect"] = "zeros") -> Example:
    """Adds `padding` pixels on all four sides.

    With "zeros" they are black, `IGNORED` in the mask and 0 in instances and weights. With
    "reflect" image, mask and weights are mirrored (`numpy.pad`); a mirrored object has no box, and
    0 in the instances.
    """
    height, width, _ = example["image"].shape
    sides = (padding, padding)

    def image(values: Image) -> NewImage:
        if mode == "reflect":
            return jnp.pad(values, (sides, sides, (0, 0)), mode="reflect")
        return jnp.pad(values, (sides, sides, (0, 0)))

    def plane(values: Plane, name: str) -> NewPlane:
        if mode == "reflect" and name != "instances":
            return jnp.pad(values, (sides, sides), mode="reflect")
        return jnp.pad(values, (sides, sides), constant_values=OUTSIDE[name])

    hulls = _hulls(
        lambda x, y: (x + padding, y + padding), height + 2 * padding, width + 2 * padding
    )
    return _move(example, image, plane, hulls)


def crop(example: Example, top: Whole, left: Whole, size: tuple[int, int]) -> Example:
    """Cuts out `size` (height, width) pixels whose upper left pixel is (top, left)."""

    def image(values: Image) -> NewImage:
        return jax.lax.dynamic_slice(values, (top, left, 0), (*size, values.shape[-1]))

    def plane(values: Plane, _: str) -> NewPlane:
        return jax.lax.dynamic_slice(values, (top, left), size)

    return _move(example, image, plane, _hulls(lambda x, y: (x - left, y - top), *size))


def flip(example: Example) -> Example:
    """Exchanges left and right, of an image on a canvas within its own `size`."""
    height, width, _ = example["image"].shape
    own: Whole = width
    columns: Array | slice = slice(None, None, -1)
    if "size" in example:
        own, places = example["size"][1], jnp.arange(width)
        columns = jnp.where(places < own, own - 1 - places, places)
    return _move(
        example,
        lambda image: image[:, columns],
        lambda plane, _: plane[:, columns],
        _hulls(lambda x, y: (own - x, y), height, width),
    )


def crop_and_resize(
    example: Example, top: Whole, left: Whole, height: Whole, width: Whole, size: tuple[int, int]
) -> Example:
    """Cuts out height x width pixels at (top, left) and resizes them to `size` (height, width).

    Bilinear with antialiasing, as `torchvision.transforms.functional.resized_crop`; pixels
    outside of the part have no influence. Mask, instances and weights:
    `InterpolationMode.NEAREST_EXACT`. The part may be traced, so that one program crops every size.
    """
    new_height, new_width = size
    rows, columns = jnp.arange(new_height), jnp.arange(new_width)

    def image(values: Image) -> NewImage:
        of_rows = resize_weights(values.shape[0], top, height, new_height, rows, values.dtype)
        of_columns = resize_weights(values.shape[1], left, width, new_width, columns, values.dtype)
        return weighted_sums(values, of_rows, of_columns)

    def plane(values: Plane, _: str) -> NewPlane:
        of_rows = top + nearest_pixels(height, new_height, rows)
        of_columns = left + nearest_pixels(width, new_width, columns)
        return values[of_rows][:, of_columns]

    def points(x: Array, y: Array) -> Points:
        return (x - left) * new_width / width, (y - top) * new_height / height

    return _move(example, image, plane, _hulls(points, *size))


def resize_and_crop(
    example: Example, height: Whole, width: Whole, top: Whole, left: Whole, size: tuple[int, int]
) -> Example:
    """Resizes to height x width pixels and cuts out `size` (height, width) of them at (top, left).

    Interpolated as in `crop_and_resize`, of which this is the other order: pixels just outside of
    the part have an influence. What the resized image does not cover is black, `IGNORED` in the
    mask and 0 in instances and weights. All but `size` may be traced.
    """
    old_height, old_width, _ = example["image"].shape
    rows, columns = top + jnp.arange(size[0]), left + jnp.arange(size[1])
    inside = (rows < height)[:, None] & (columns < width)[None, :]

    def image(values: Image) -> NewImage:
        of_rows = resize_weights(old_height, 0, old_height, height, rows, values.dtype)
        of_columns = resize_weights(old_width, 0, old_width, width, columns, values.dtype)
        return jnp.where(inside[..., None], weighted_sums(values, of_rows, of_columns), 0)

    def plane(values: Plane, name: str) -> NewPlane:
        of_rows = nearest_pixels(old_height, height, rows)
        of_columns = nearest_pixels(old_width, width, columns)
        outside = jnp.asarray(OUTSIDE[name], values.dtype)
        return jnp.where(inside, values[of_rows][:, of_columns], outside)

    def points(x: Array, y: Array) -> Points:
        return x * width / old_width - left, y * height / old_height - top

    return _move(example, image, plane, _hulls(points, *size))


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


def deform(example: Example, vectors: Float[Array, "rows columns 2"]) -> Example:
    """Each pixel gets the value at its place plus a displacement (right, down) in pixels.

    The vectors are the displacements in the middles of rows x columns equal cells of the image,
    between which they are bicubic (`jax.image.resize`). Pixels from outside are black. A box
    becomes the upright hull of the pixels that come from within it.
    """
    height, width, _ = example["image"].shape
    right, down = jnp.moveaxis(jax.image.resize(vectors, (height, width, 2), "cubic"), -1, 0)
    x, y = _middles(height, width, right.dtype)
    return _sample(
        example, x + right, y + down, lambda boxes: _seen_hulls(boxes, x + right, y + down)
    )


def _warp(
    example: Example,
    forward: Callable[[Array, Array], Points],
    backward: Callable[[Array, Array], Points],
) -> Example:
    """Moves points, relative to the centre, by `forward`. `backward` is its inverse."""
    height, width, _ = example["image"].shape
    x, y = _middles(height, width, example["image"].dtype)
    x, y = backward(x - width / 2, y - height / 2)

    def points(x: Array, y: Array) -> Points:
        x, y = forward(x - width / 2, y - height / 2)
        return x + width / 2, y + height / 2

    return _sample(example, x + width / 2, y + height / 2, _hulls(points, height, width))


def _middles(height: int, width: int, dtype: jnp.dtype) -> Points:
    """The places of all pixels."""
    rows, columns = jnp.arange(height, dtype=dtype) + 0.5, jnp.arange(width, dtype=dtype) + 0.5
    y, x = jnp.meshgrid(rows, columns, indexing="ij")
    return x, y


def _sample(example: Example, x: Array, y: Array, boxes: Callable[[Boxes], Boxes]) -> Example:
    """Every pixel gets the value of the old example at a point."""
    return _move(
        example,
        lambda image: bilinear(image, x, y),
        lambda plane, name: nearest(plane, x, y, OUTSIDE[name]),
        boxes,
    )


def _move(
    example: Example,
    image: Callable[[Image], NewImage],
    plane: Callable[[Plane, str], NewPlane],
    boxes: Callable[[Boxes], Boxes],
) -> Example:
    """Moves every entry. `plane` is called with an entry of `OUTSIDE` and its name."""
    moved = example | {"image": image(example["image"])}
    for name in OUTSIDE:
        if name in example:
            moved[name] = plane(example[name], name)
    if "boxes" in example:
        # A box that has left the image must not come back as the hull of its rotated edge.
        hulls = boxes(example["boxes"])
        kept = _have_area(example["boxes"]) & _have_area(hulls)
        moved["boxes"] = jnp.where(kept[:, None], hulls, 0).astype(hulls.dtype)
        for name in ("box_labels", "crowd_labels"):
            if name in example:
                moved[name] = jnp.where(kept, example[name], -1)
        if "areas" in example:
            share = _areas(hulls) / jnp.where(kept, _areas(example["boxes"]), 1)
            moved["areas"] = jnp.where(kept, example["areas"] * share, 0)
    if "size" in example:
        # The smallest part of the canvas, from its upper left, that holds the moved image.
        height, width = example["size"].astype(example["image"].dtype)
        _, _, right, bottom = boxes(jnp.stack([0 * width, 0 * height, width, height])[None])[0]
        size = jnp.ceil(jnp.stack([bottom, right]) - ROUNDING)
        moved["size"] = jnp.maximum(size, 1).astype(example["size"].dtype)
    return moved


def _hulls(
    points: Callable[[Array, Array], Points], height: int, width: int
) -> Callable[[Boxes], Boxes]:
    """Moves boxes: to the hulls of their moved corners, within an image of height x width."""

    def move(boxes: Boxes) -> Boxes:
        x0, y0, x1, y1 = boxes.T
        x, y = points(jnp.stack([x0, x1, x1, x0]), jnp.stack([y0, y0, y1, y1]))
        x, y = jnp.clip(x, 0, width), jnp.clip(y, 0, height)
        hulls = [x.min(axis=0), y.min(axis=0), x.max(axis=0), y.max(axis=0)]
        return jnp.stack(hulls, axis=-1).astype(boxes.dtype)

    return move


def _seen_hulls(boxes: Boxes, x: Float[Array, "y x"], y: Float[Array, "y x"]) -> Boxes:
    """The hulls of the pixels whose points are within the boxes; zeros where there is none."""

    def hull(box: Float[Array, "4"]) -> Float[Array, "4"]:
        inside = (x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])
        left, right = _ends(inside.any(axis=0))
        top, bottom = _ends(inside.any(axis=1))
        return jnp.stack([left, top, right, bottom]).astype(box.dtype)

    return jax.lax.map(hull, boxes)


def _ends(there: Bool[Array, "n"]) -> tuple[Array, Array]:
    """The first place, and the one after the last; (0, 0) if there is none."""
    first, last = jnp.argmax(there), len(there) - jnp.argmax(there[::-1])
    return first, jnp.where(there.any(), last, 0)


def _areas(boxes: Boxes) -> Float[Array, "n"]:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _have_area(boxes: Boxes) -> Bool[Array, "n"]:
    return (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
