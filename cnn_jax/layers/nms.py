"""Non-maximum suppression: of boxes that overlap, only the one with the highest score remains.

Shapes are fixed: what is left out is marked in a mask. Of equal scores the first comes first.
"""

from typing import Literal, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Shaped

from cnn_jax.layers.arguments import as_float, wide
from cnn_jax.layers.boxes import box_iou, pairwise_iou
from cnn_jax.layers.mesh_axes import varying_like

FEW = 8
"""The best boxes are taken one after another if there are this many times more boxes."""


class Kept(NamedTuple):
    """What remains of a number of boxes.

    Attributes:
        indices: of the boxes that remain, in the order of decreasing scores, and then of others.
        mask: which of them remain.
    """

    indices: Int[Array, " most"]
    mask: Bool[Array, " most"]


def non_maximum_suppression(
    boxes: Shaped[Array, "boxes 4"],
    scores: Shaped[Array, " boxes"],
    threshold: float,
    *,
    classes: Shaped[Array, " boxes"] | None = None,
    mask: Bool[Array, " boxes"] | None = None,
    most: int | None = None,
) -> Kept:
    """Drop each box whose IoU with a remaining box of a higher score exceeds the threshold.

    The result is that of the greedy algorithm of `torchvision.ops.nms`, and with classes of
    `batched_nms`. For the best few of many boxes, they are taken one after another. Otherwise it
    takes a few passes over all pairs of boxes, and memory for them (a byte a pair).

    Args:
        boxes: the boxes; those without area suppress none and are not suppressed.
        scores: their scores.
        threshold: a larger IoU suppresses.
        classes: numbers of the boxes' classes; boxes of different classes do not suppress each
            other. None takes all as one class.
        mask: which boxes there are; the others are padding.
        most: length of the result, the boxes with the highest scores; None is that of the input.
    """
    there = jnp.ones(scores.shape, bool) if mask is None else mask
    order = jnp.lexsort((-as_float(scores), ~there))
    boxes, there = boxes[order], there if mask is None else mask[order]
    classes = None if classes is None else classes[order]
    there = varying_like(there, boxes, order, *(() if classes is None else (classes,)))
    if most is not None and most * FEW <= len(order):
        first, kept = _one_by_one(boxes, classes, there, threshold, most)
        return Kept(order[first].astype(jnp.int32), kept)
    kept = _all_at_once(boxes, classes, there, threshold)
    first = jnp.argsort(~kept, stable=True)[:most]
    return Kept(order[first].astype(jnp.int32), kept[first])


def _all_at_once(boxes: Array, classes: Array | None, there: Array, threshold: float) -> Array:
    """Which of the boxes, best first, remain."""
    place = jnp.arange(len(boxes))
    suppresses = pairwise_iou(boxes, boxes) > threshold
    if classes is not None:
        suppresses &= classes[:, None] == classes[None, :]
    suppresses &= place[:, None] < place[None, :]

    def change(state: tuple[Array, Array]) -> tuple[Array, Array]:
        kept, _ = state
        return there & ~jnp.any(suppresses & kept[:, None], axis=0), kept

    # A box depends on those before it alone. So one more place, at least, is final after each pass,
    # and what does not change is the greedy algorithm's result. Few passes do, as chains are short.
    kept, _ = lax.while_loop(
        lambda state: jnp.any(state[0] != state[1]), change, (there, jnp.zeros_like(there))
    )
    return kept


def _one_by_one(
    boxes: Array, classes: Array | None, there: Array, threshold: float, most: int
) -> tuple[Array, Array]:
    """The places of those of the boxes, best first, that remain, and whether there are as many."""

    def take(left: Array, _: None) -> tuple[Array, tuple[Array, Array]]:
        best = jnp.argmax(left)
        suppressed = box_iou(boxes[best], boxes) > threshold
        if classes is not None:
            suppressed &= classes == classes[best]
        return (left & ~suppressed).at[best].set(False), (best, left[best])

    _, chosen = lax.scan(take, there, length=most)
    return chosen


def soft_non_maximum_suppression(
    boxes: Shaped[Array, "boxes 4"],
    scores: Shaped[Array, " boxes"],
    *,
    method: Literal["linear", "gaussian"] = "gaussian",
    threshold: float = 0.3,
    sigma: float = 0.5,
    classes: Shaped[Array, " boxes"] | None = None,
    mask: Bool[Array, " boxes"] | None = None,
) -> Float[Array, " boxes"]:
    """Lower the scores of boxes that overlap one with a higher score (Bodla et al. 2017).

    One box after another is taken, that with the highest score that is left, and the scores of the
    others are multiplied by a factor.

    Args:
        boxes: the boxes.
        scores: their scores, at least 0.
        method: the factor. "gaussian" is exp(-IoU² / sigma); "linear" is 1 - IoU where the IoU
            exceeds the threshold.
        threshold: that of "linear".
        sigma: that of "gaussian".
        classes: as in `non_maximum_suppression`.
        mask: which boxes there are; the others are padding, and their new scores are 0.

    Returns:
        The new scores, in the order of the boxes.
    """
    scores = as_float(scores)
    scores = scores.astype(wide(scores))
    if mask is not None:
        scores = jnp.where(mask, scores, 0)

    def take(_: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        scores, left = state
        best = jnp.argmax(jnp.where(left, scores, -1))
        left = left.at[best].set(False)
        iou = box_iou(boxes[best], boxes)
        if method == "linear":
            factor = jnp.where(iou > threshold, 1 - iou, 1)
        else:
            factor = jnp.exp(-(iou**2) / sigma)
        lowered = left if classes is None else left & (classes == classes[best])
        return jnp.where(lowered, scores * factor.astype(scores.dtype), scores), left

    left = varying_like(jnp.ones(scores.shape, bool), scores)
    scores, _ = lax.fori_loop(0, len(scores), take, (scores, left))
    return scores
