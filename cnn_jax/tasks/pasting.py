"""The masks of detected objects, put into the image."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from cnn_jax.layers.boxes import split_boxes

MASK_THRESHOLD = 0.5
"""A pixel with a larger value belongs to the object."""


def paste_masks(
    masks: Float[Array, "objects height width"],
    boxes: Shaped[Array, "objects 4"],
    size: tuple[int, int],
) -> Float[Array, "objects image_height image_width"]:
    """Resize each mask to its box, bilinear, among zeros; as torchvision's Mask R-CNN.

    An object's pixels are those whose value exceeds `MASK_THRESHOLD`.

    Args:
        masks: probabilities of the pixels within the boxes.
        boxes: in pixels; each covers at least one pixel.
        size: (height, width) of the image.
    """
    x0, y0, x1, y1 = split_boxes(boxes)
    _, height, width = masks.shape
    rows = _weights(y0, y1, height, size[0]).astype(masks.dtype)
    columns = _weights(x0, x1, width, size[1]).astype(masks.dtype)
    # A border of zeros lets a mask fade out.
    masks = jnp.pad(masks, ((0, 0), (1, 1), (1, 1)))
    return jnp.einsum("nyh,nhw,nxw->nyx", rows, masks, columns, precision="highest")


def _weights(start: Array, end: Array, cells: int, pixels: int) -> Array:
    """How much each of the image's pixels has of each cell and of the border: [objects, …]."""
    # The box with the border, its corners rounded to pixels towards zero.
    half, centre = (end - start) / 2 * (cells + 2) / cells, (start + end) / 2
    start, end = jnp.trunc(centre - half)[:, None], jnp.trunc(centre + half)[:, None]
    number = jnp.maximum(end - start + 1, 1)
    pixel = jnp.arange(pixels)[None]
    position = (pixel - start + 0.5) * (cells + 2) / number - 0.5
    position = jnp.clip(position, 0, cells + 1)[..., None]
    weights = jnp.maximum(1 - jnp.abs(position - jnp.arange(cells + 2)[None, None]), 0)
    inside = (pixel >= start) & (pixel < start + number)
    return jnp.where(inside[..., None], weights, 0)
