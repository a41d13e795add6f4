"""Values of an image between its pixels: bilinear, and of the nearest pixel.

Pixel i covers [i, i + 1), so its centre is at i + 1/2.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

Image = Float[Array, "height width channels"]
Plane = Num[Array, "height width"]  # an entry of `OUTSIDE`
NewImage = Float[Array, "new_height new_width channels"]
Whole = Int[Array, ""] | int


def bilinear(image: Image, x: Float[Array, "y x"], y: Float[Array, "y x"]) -> Image:
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


def nearest(plane: Plane, x: Float[Array, "y x"], y: Float[Array, "y x"], outside: int) -> Plane:
    """The values of the pixels that contain the points."""
    height, width = plane.shape
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    rows = jnp.clip(jnp.floor(y), 0, height - 1).astype(int)
    columns = jnp.clip(jnp.floor(x), 0, width - 1).astype(int)
    return jnp.where(inside, plane[rows, columns], jnp.asarray(outside, plane.dtype))


def nearest_pixels(
    size: Whole, new_size: Whole, places: Int[Array, "places"]
) -> Int[Array, "places"]:
    """The pixels, of `size`, that are nearest to pixels of the line resized to `new_size`."""
    # The pixel that contains the point (i + 1/2) * old / new, in integer arithmetic.
    return (2 * places + 1) * size // (2 * new_size)


def resize_weights(
    size: int,
    start: Whole,
    length: Whole,
    new_size: Whole,
    places: Int[Array, "places"],
    dtype: jnp.dtype,
) -> Float[Array, "places size"]:
    """The weight of each pixel of a line in resized pixels.

    Of the line's `size` pixels, `length` at `start` are resized to `new_size`. A row of weights is
    that of a resized pixel: a triangle as wide as the larger of the old and the new pixel, cut off
    at the ends of the part.
    """
    scale = jnp.asarray(length, dtype) / new_size
    centres = (places.astype(dtype) + 0.5) * scale
    pixels = jnp.arange(size, dtype=dtype) + 0.5 - start
    distances = jnp.abs(pixels[None, :] - centres[:, None])
    weights = jnp.maximum(0, 1 - distances / jnp.maximum(scale, 1))
    weights = jnp.where((pixels > 0) & (pixels < length), weights, 0)
    # The nearest pixel has at least half; less is the sum only of a place that is outside.
    return weights / jnp.maximum(weights.sum(axis=1, keepdims=True), 0.5)


def weighted_sums(
    image: Image, rows: Float[Array, "new_height height"], columns: Float[Array, "new_width width"]
) -> NewImage:
    """The image, resized: each of its new pixels is a weighted sum of old ones."""
    # Two matrix products, which accelerators would compute with fewer bits by default.
    highest = jax.lax.Precision.HIGHEST
    return jnp.einsum("yi,ijc,xj->yxc", rows, image, columns, precision=highest)
