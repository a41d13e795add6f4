"""Proposals of a region proposal network: boxes that may hold an object (Ren et al. 2015)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Shaped

from cnn_jax.layers import clip_boxes, decode_boxes, non_maximum_suppression

IOU_THRESHOLD = 0.7
SMALLEST = 1e-3
"""Sides of a proposal, in pixels."""


def select_proposals(
    logits: Sequence[Float[Array, "_"]],
    deltas: Sequence[Float[Array, "_ 4"]],
    anchors: Sequence[Float[Array, "_ 4"]],
    size: Shaped[Array, "2"],
    number: int,
) -> tuple[Float[Array, "{number} 4"], Bool[Array, "{number}"]]:
    """The best boxes of one image, and which of them there are, as torchvision's RPN.

    Of each level, as many of the best anchors as there may be proposals are decoded and cut off at
    the image's border, and of those that overlap one remains. Proposals have no gradient.

    Args:
        logits: of each level, whether an anchor has an object.
        deltas: of each level, for `decode_boxes`.
        anchors: of each level, in pixels.
        size: (height, width) of the image.
        number: of proposals.
    """
    boxes, scores, masks = [], [], []
    for of_level, delta, anchor in zip(logits, deltas, anchors, strict=True):
        best, place = lax.top_k(lax.stop_gradient(of_level), min(number, len(of_level)))
        box = decode_boxes(lax.stop_gradient(delta[place]), anchor[place])
        box = clip_boxes(box, size)
        width, height = box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]
        large = (width >= SMALLEST) & (height >= SMALLEST)
        score = jax.nn.sigmoid(best)
        chosen, kept = non_maximum_suppression(box, score, IOU_THRESHOLD, mask=large)
        boxes.append(box[chosen])
        scores.append(score[chosen])
        masks.append(kept)
    kept = jnp.concatenate(masks)
    score = jnp.where(kept, jnp.concatenate(scores), -1)
    first = jnp.argsort(score, descending=True, stable=True)[:number]
    missing = number - len(first)
    mask = jnp.pad(kept[first], (0, missing))
    chosen_boxes = jnp.pad(jnp.concatenate(boxes)[first], ((0, missing), (0, 0)))
    return jnp.where(mask[:, None], chosen_boxes, 0), mask
