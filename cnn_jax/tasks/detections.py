"""Detections of fixed shape, from what a detector's network gives for one image."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Shaped

from cnn_jax.layers import clip_boxes, decode_boxes, non_maximum_suppression

PaddedDetections = dict[str, Array]
"""`boxes` [most, 4] in pixels, their `scores` [most] from high to low, and `box_labels` [most].

The label of what is no detection is -1, its score 0.
"""

BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""Factors of the deltas of a network with a softmax over classes, see `encode_boxes`."""
SMALLEST = 1e-2
"""Sides of the box that an R-CNN detects, in pixels."""


def detections_of_anchors(
    logits: Sequence[Float[Array, "_ classes"]],
    deltas: Sequence[Float[Array, "_ 4"]],
    anchors: Sequence[Float[Array, "_ 4"]],
    size: Shaped[Array, "2"],
    *,
    score_threshold: float = 0.05,
    iou_threshold: float = 0.5,
    candidates: int = 1000,
    most: int = 300,
) -> PaddedDetections:
    """The detections of a network with a sigmoid for each class, as torchvision's RetinaNet.

    Args:
        logits: of each level.
        deltas: of each level, for `decode_boxes`.
        anchors: of each level.
        size: (height, width) of the image, to which boxes are cut off.
        score_threshold: only higher scores are detections.
        iou_threshold: of two boxes of a class that overlap more, one remains.
        candidates: pairs of a box and a class that are taken from each level.
        most: number of detections, the best ones.
    """
    boxes, scores, labels = [], [], []
    for of_level, delta, anchor in zip(logits, deltas, anchors, strict=True):
        classes = of_level.shape[-1]
        flat = jax.nn.sigmoid(of_level).ravel()
        best, place = lax.top_k(flat, min(candidates, flat.size))
        here = place // classes
        boxes.append(clip_boxes(decode_boxes(delta[here], anchor[here]), size))
        scores.append(best)
        labels.append(place % classes)
    found = jnp.concatenate(boxes), jnp.concatenate(scores), jnp.concatenate(labels)
    return best_detections(*found, found[1] > score_threshold, iou_threshold, most)


def detections_of_default_boxes(
    logits: Float[Array, "anchors classes"],
    deltas: Float[Array, "anchors 4"],
    anchors: Float[Array, "anchors 4"],
    size: Shaped[Array, "2"],
    *,
    score_threshold: float = 0.01,
    iou_threshold: float = 0.45,
    candidates: int = 400,
    most: int = 200,
) -> PaddedDetections:
    """The detections of a network with a softmax over classes, as torchvision's SSD.

    Args:
        logits: of each anchor; class 0 is the background.
        deltas: of each anchor, for `decode_boxes` with `BOX_WEIGHTS`.
        anchors: in pixels.
        size: (height, width) of the image, to which boxes are cut off.
        score_threshold: only higher scores are detections.
        iou_threshold: of two boxes of a class that overlap more, one remains.
        candidates: boxes that are taken of each class.
        most: number of detections, the best ones.
    """
    boxes = clip_boxes(decode_boxes(deltas, anchors, BOX_WEIGHTS), size)
    of_classes = jax.nn.softmax(logits)[:, 1:].T
    scores, place = lax.top_k(of_classes, min(candidates, len(anchors)))
    labels = jnp.broadcast_to(jnp.arange(1, logits.shape[-1])[:, None], place.shape)
    found = boxes[place.ravel()], scores.ravel(), labels.ravel()
    return best_detections(*found, found[1] > score_threshold, iou_threshold, most)


def best_detections(
    boxes: Float[Array, "boxes 4"],
    scores: Float[Array, " boxes"],
    labels: Int[Array, " boxes"],
    mask: Bool[Array, " boxes"],
    iou_threshold: float,
    most: int,
) -> PaddedDetections:
    """The boxes with the highest scores that remain after non-maximum suppression in each class."""
    chosen, kept = non_maximum_suppression(
        boxes, scores, iou_threshold, classes=labels, mask=mask, most=most
    )
    missing = most - len(chosen)  # where there are fewer candidates
    chosen, kept = jnp.pad(chosen, (0, missing)), jnp.pad(kept, (0, missing))
    return {
        "boxes": jnp.where(kept[:, None], boxes[chosen], 0),
        "scores": jnp.where(kept, scores[chosen], 0),
        "box_labels": jnp.where(kept, labels[chosen], -1).astype(jnp.int32),
    }


def detections_of_regions(
    logits: Float[Array, "regions classes"],
    deltas: Float[Array, "regions classes 4"],
    proposals: Float[Array, "regions 4"],
    mask: Bool[Array, " regions"],
    size: Shaped[Array, "2"],
    *,
    score_threshold: float = 0.05,
    iou_threshold: float = 0.5,
    most: int = 100,
) -> PaddedDetections:
    """The detections of a network with a softmax over classes, as torchvision's R-CNNs.

    Args:
        logits: of each region; class 0 is the background.
        deltas: of each region and class, for `decode_boxes` with `BOX_WEIGHTS`.
        proposals: the regions, in pixels.
        mask: which regions there are.
        size: (height, width) of the image, to which boxes are cut off.
        score_threshold: only higher scores are detections.
        iou_threshold: of two boxes of a class that overlap more, one remains.
        most: number of detections, the best ones.
    """
    scores = jax.nn.softmax(logits)[:, 1:]
    boxes = clip_boxes(decode_boxes(deltas[:, 1:], proposals[:, None], BOX_WEIGHTS), size)
    width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    there = mask[:, None] & (scores > score_threshold)
    there &= (width >= SMALLEST) & (height >= SMALLEST)
    labels = jnp.tile(jnp.arange(1, logits.shape[1]), (len(logits), 1))
    flat = boxes.reshape(-1, 4), scores.ravel(), labels.ravel(), there.ravel()
    return best_detections(*flat, iou_threshold, most)
