"""Boxes: areas, overlaps, and their coding relative to others.

A box is (x0, y0, x1, y1), in pixels. x0 and y0 are at the upper left, and x1 - x0 is the width.
Results are float32 or wider. Numerics are those of `torchvision.ops` and torchvision's detectors.
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from cnn_jax.errors import ConfigError
from cnn_jax.layers.arguments import as_float, wide

Boxes = Shaped[Array | np.ndarray, "... 4"]

LARGEST_LOG_SCALE = math.log(1000 / 16)
"""The largest logarithm of a scale in `decode_boxes`, which makes 1000 of 16 pixels."""


def box_areas(boxes: Boxes) -> Float[Array, "..."]:
    """Width times height; of an inverted box it is negative."""
    x0, y0, x1, y1 = split_boxes(boxes)
    return (x1 - x0) * (y1 - y0)


def box_iou(a: Boxes, b: Boxes) -> Float[Array, "..."]:
    """Intersection over union of each box of a with the same box of b (broadcast).

    Two boxes without area have 0, where torchvision has NaN.
    """
    intersection, union = _overlap(a, b)
    return _ratio(intersection, union)


def box_giou(a: Boxes, b: Boxes) -> Float[Array, "..."]:
    """Generalized IoU of each box of a with the same box of b (broadcast); from -1 to 1.

    The IoU, minus the part of the smallest box around both that neither covers (Rezatofighi et al.
    2019). It has a gradient where boxes do not overlap.
    """
    intersection, union = _overlap(a, b)
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = split_boxes(a), split_boxes(b)
    width = jnp.maximum(ax1, bx1) - jnp.minimum(ax0, bx0)
    height = jnp.maximum(ay1, by1) - jnp.minimum(ay0, by0)
    around = jnp.maximum(width, 0) * jnp.maximum(height, 0)
    return _ratio(intersection, union) - _ratio(around - union, around)


def pairwise_iou(
    a: Shaped[Array | np.ndarray, "*batch n 4"], b: Shaped[Array | np.ndarray, "*batch m 4"]
) -> Float[Array, "*batch n m"]:
    """`box_iou` of every box of a with every box of b."""
    return box_iou(a[..., :, None, :], b[..., None, :, :])


def pairwise_giou(
    a: Shaped[Array | np.ndarray, "*batch n 4"], b: Shaped[Array | np.ndarray, "*batch m 4"]
) -> Float[Array, "*batch n m"]:
    """`box_giou` of every box of a with every box of b."""
    return box_giou(a[..., :, None, :], b[..., None, :, :])


def encode_boxes(
    boxes: Boxes, anchors: Boxes, weights: tuple[float, float, float, float] = (1, 1, 1, 1)
) -> Float[Array, "... 4"]:
    """What `decode_boxes` makes boxes of: offsets of the centre, and logarithms of the scales.

    Boxes or anchors without area, such as padding, give infinite values or NaN.

    Args:
        boxes: the boxes; broadcast with the anchors.
        anchors: boxes that they are relative to.
        weights: factors of the result (x, y, width, height).
    """
    x, y, width, height = _centres(boxes)
    anchor_x, anchor_y, anchor_width, anchor_height = _centres(anchors)
    wx, wy, ww, wh = weights
    return jnp.stack(
        [
            wx * (x - anchor_x) / anchor_width,
            wy * (y - anchor_y) / anchor_height,
            ww * jnp.log(width / anchor_width),
            wh * jnp.log(height / anchor_height),
        ],
        axis=-1,
    )


def decode_boxes(
    deltas: Boxes,
    anchors: Boxes,
    weights: tuple[float, float, float, float] = (1, 1, 1, 1),
    largest_log_scale: float = LARGEST_LOG_SCALE,
) -> Float[Array, "... 4"]:
    """The inverse of `encode_boxes`.

    Args:
        deltas: a network's output; broadcast with the anchors.
        anchors: boxes that they are relative to.
        weights: those of `encode_boxes`.
        largest_log_scale: larger logarithms of a scale are cut off, so that no box is infinite.
    """
    dx, dy, dw, dh = (d / w for d, w in zip(split_boxes(deltas), weights, strict=True))
    anchor_x, anchor_y, anchor_width, anchor_height = _centres(anchors)
    x, y = dx * anchor_width + anchor_x, dy * anchor_height + anchor_y
    half_width = 0.5 * jnp.exp(jnp.minimum(dw, largest_log_scale)) * anchor_width
    half_height = 0.5 * jnp.exp(jnp.minimum(dh, largest_log_scale)) * anchor_height
    corners = [x - half_width, y - half_height, x + half_width, y + half_height]
    return jnp.stack(corners, axis=-1)


def clip_boxes(boxes: Boxes, size: Shaped[Array, "... 2"]) -> Float[Array, "... 4"]:
    """Move corners outside of the image to its border.

    Args:
        boxes: the boxes.
        size: (height, width) of the image; broadcast with the boxes.
    """
    size = jnp.asarray(size)
    height, width = size[..., 0], size[..., 1]
    x0, y0, x1, y1 = split_boxes(boxes)
    corners = [jnp.clip(x, 0, side) for x, side in ((x0, width), (y0, height))]
    corners += [jnp.clip(x, 0, side) for x, side in ((x1, width), (y1, height))]
    return jnp.stack(corners, axis=-1)


def resize_boxes(
    boxes: Boxes, size: Shaped[Array, "2"], new_size: Shaped[Array, "2"]
) -> Float[Array, "... 4"]:
    """The boxes of an image that is resized; the factors are float32, as in torchvision.

    Args:
        boxes: the boxes.
        size: (height, width) of the image.
        new_size: those of the resized image.
    """
    height, width = new_size.astype(jnp.float32) / size.astype(jnp.float32)
    x0, y0, x1, y1 = split_boxes(boxes)
    return jnp.stack([x0 * width, y0 * height, x1 * width, y1 * height], axis=-1)


def split_boxes(boxes: Boxes) -> tuple[Array, Array, Array, Array]:
    """The four numbers of each box, float32 or wider.

    Raises:
        ConfigError: if the last axis is not 4.
    """
    boxes = as_float(jnp.asarray(boxes))
    if boxes.ndim < 1 or boxes.shape[-1] != 4:
        raise ConfigError(f"boxes must have the axes [batch…, 4], got shape {boxes.shape}")
    boxes = boxes.astype(wide(boxes))
    return boxes[..., 0], boxes[..., 1], boxes[..., 2], boxes[..., 3]


def _overlap(a: Boxes, b: Boxes) -> tuple[Array, Array]:
    """Areas of the intersection and of the union."""
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = split_boxes(a), split_boxes(b)
    width = jnp.maximum(jnp.minimum(ax1, bx1) - jnp.maximum(ax0, bx0), 0)
    height = jnp.maximum(jnp.minimum(ay1, by1) - jnp.maximum(ay0, by0), 0)
    intersection = width * height
    return intersection, box_areas(a) + box_areas(b) - intersection


def _ratio(part: Array, whole: Array) -> Array:
    """Part / whole, and 0 with a gradient of 0 where whole is 0."""
    return jnp.where(whole == 0, 0, part / jnp.where(whole == 0, 1, whole))


def _centres(boxes: Boxes) -> tuple[Array, Array, Array, Array]:
    """Centre (x, y), width and height."""
    x0, y0, x1, y1 = split_boxes(boxes)
    width, height = x1 - x0, y1 - y0
    return x0 + 0.5 * width, y0 + 0.5 * height, width, height
