"""How much boxes, and masks, of detections and objects overlap: on the host, in float64."""

import math

import numpy as np
from jaxtyping import Bool, Float, Shaped

Boxes = Float[np.ndarray, "n 4"]
Masks = Shaped[np.ndarray, "n height width"]
Overlaps = Float[np.ndarray, "detections truths"]


def box_areas(boxes: Boxes) -> Float[np.ndarray, " n"]:
    """The areas of boxes, in pixels; 0 for inverted ones."""
    sides = np.maximum(np.asarray(boxes, np.float64)[:, 2:] - boxes[:, :2], 0)
    return sides[:, 0] * sides[:, 1]


def box_overlaps(
    boxes: Float[np.ndarray, "detections 4"],
    truths: Float[np.ndarray, "truths 4"],
    crowd: Bool[np.ndarray, " truths"] | None = None,
) -> Overlaps:
    """Intersection over union of each box with each true one; of a crowd, over the box's area."""
    boxes, truths = np.asarray(boxes, np.float64), np.asarray(truths, np.float64)
    first = np.maximum(boxes[:, None, :2], truths[None, :, :2])
    sides = np.maximum(np.minimum(boxes[:, None, 2:], truths[None, :, 2:]) - first, 0)
    return _over_union(sides[..., 0] * sides[..., 1], box_areas(boxes), box_areas(truths), crowd)


def mask_overlaps(
    masks: Shaped[np.ndarray, "detections height width"],
    truths: Shaped[np.ndarray, "truths height width"],
    crowd: Bool[np.ndarray, " truths"] | None = None,
) -> Overlaps:
    """Intersection over union of masks; of a crowd, over the area of the detection."""
    pixels = math.prod(masks.shape[1:])
    # Float32 counts exactly up to 2^24, and multiplies in half of the time and memory.
    dtype = np.float32 if pixels <= 2**24 else np.float64
    a, b = ((one != 0).reshape(len(one), pixels).astype(dtype) for one in (masks, truths))
    areas, true_areas = (one.sum(axis=1, dtype=np.float64) for one in (a, b))
    return _over_union((a @ b.T).astype(np.float64), areas, true_areas, crowd)


def _over_union(
    common: Overlaps,
    areas: Float[np.ndarray, " detections"],
    true_areas: Float[np.ndarray, " truths"],
    crowd: Bool[np.ndarray, " truths"] | None,
) -> Overlaps:
    union = areas[:, None] + true_areas - common
    if crowd is not None:
        union = np.where(crowd, areas[:, None], union)
    return np.divide(common, union, out=np.zeros_like(common), where=common > 0)
