"""The losses of R-CNNs, as torchvision's: sums over one image's samples, and their number.

A mean over the samples of a batch is the quotient of both, added up over its images.
"""

import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, Shaped

from cnn_jax.layers import (
    encode_boxes,
    match_anchors,
    pairwise_iou,
    roi_align,
    sample_balanced,
)
from cnn_jax.layers.matching import BETWEEN
from cnn_jax.tasks.detection import real_boxes
from cnn_jax.tasks.detections import BOX_WEIGHTS

BETA = 1 / 9
"""The smooth L1 loss is quadratic below."""

Losses = tuple[dict[str, Float[Array, ""]], dict[str, Array]]
Regions = dict[str, Array]
"""Sampled `boxes` [number, 4], positives first, and of each its `label` (0 is the background, -1
none), and `truth`, the number of its object."""


def proposal_losses(
    key: Key[Array, ""],
    logits: Float[Array, " anchors"],
    deltas: Float[Array, "anchors 4"],
    anchors: Float[Array, "anchors 4"],
    boxes: Float[Array, "most 4"],
    labels: Int[Array, " most"],
    number: int,
) -> Losses:
    """Cross entropy and box loss of sampled anchors: `objectness_loss` and `proposal_box_loss`.

    Args:
        key: random key of the sample.
        logits: whether an anchor has an object.
        deltas: of the anchors, for `decode_boxes`.
        anchors: in pixels.
        boxes: of the objects.
        labels: their classes; -1 is padding.
        number: of samples, at most half of them with an object.
    """
    quality = pairwise_iou(boxes, anchors)
    there = real_boxes(boxes, labels)
    matches = match_anchors(quality, 0.7, 0.3, mask=there, low_quality=True)
    target = jnp.where(matches == BETWEEN, -1, (matches >= 0).astype(jnp.int32))
    chosen, drawn = sample_balanced(key, target, number, 0.5)
    target, anchor, truth = target[chosen], anchors[chosen], matches[chosen]
    positive = drawn & (target == 1)
    entropy = optax.losses.sigmoid_binary_cross_entropy(
        logits[chosen], positive.astype(logits.dtype)
    )
    of_box = _box_losses(deltas[chosen], boxes[jnp.maximum(truth, 0)], anchor, positive)
    count = jnp.sum(drawn)
    return (
        {"objectness_loss": jnp.sum(jnp.where(drawn, entropy, 0)), "proposal_box_loss": of_box},
        {"objectness_loss": count, "proposal_box_loss": count},
    )


def sample_regions(
    key: Key[Array, ""],
    proposals: Float[Array, "proposals 4"],
    mask: Bool[Array, " proposals"],
    boxes: Float[Array, "most 4"],
    labels: Int[Array, " most"],
    number: int,
) -> Regions:
    """Sample from the proposals and the objects' own boxes, a quarter of them with an object.

    Args:
        key: random key.
        proposals: in pixels.
        mask: which proposals there are.
        boxes: of the objects.
        labels: their classes, from 1; -1 is padding.
        number: of samples, a quarter of them with an object at most.
    """
    there = real_boxes(boxes, labels)
    candidates = jnp.concatenate([proposals, boxes])
    mask = jnp.concatenate([mask, there])
    matches = match_anchors(pairwise_iou(boxes, candidates), 0.5, 0.5, mask=there)
    truth = jnp.maximum(matches, 0)
    label = jnp.where(matches >= 0, labels[truth], 0)
    label = jnp.where(mask, label, -1)
    chosen, drawn = sample_balanced(key, label, number, 0.25)
    label = jnp.where(drawn, label[chosen], -1)
    order = jnp.argsort(label <= 0, stable=True)
    return {
        "boxes": candidates[chosen][order],
        "label": label[order],
        "truth": truth[chosen][order],
    }


def region_losses(
    logits: Float[Array, "regions classes"],
    deltas: Float[Array, "regions classes 4"],
    regions: Regions,
    boxes: Float[Array, "most 4"],
) -> Losses:
    """Cross entropy and box loss of sampled regions: `classification_loss` and `box_loss`."""
    label = regions["label"]
    drawn, positive = label >= 0, label > 0
    count, of_label = jnp.sum(drawn), jnp.maximum(label, 0)
    entropy = optax.losses.softmax_cross_entropy_with_integer_labels(logits, of_label)
    of_class = jnp.take_along_axis(deltas, of_label[:, None, None], axis=1)[:, 0]
    of_box = _box_losses(of_class, boxes[regions["truth"]], regions["boxes"], positive, BOX_WEIGHTS)
    return (
        {"classification_loss": jnp.sum(jnp.where(drawn, entropy, 0)), "box_loss": of_box},
        {"classification_loss": count, "box_loss": count},
    )


def mask_losses(
    logits: Float[Array, "regions height width classes"],
    regions: Regions,
    instances: Shaped[Array, "image_height image_width"],
) -> Losses:
    """The mean cross entropy of the pixels of each positive region's mask: `mask_loss`.

    The target is the object's mask, resized to the pixels of the region by `roi_align`.

    Args:
        logits: of the mask of every class.
        regions: the sampled regions.
        instances: number of the object at each pixel, from 1 in the order of the boxes.
    """
    _, height, width, _ = logits.shape
    positive, of_label = regions["label"] > 0, jnp.maximum(regions["label"], 0)

    def target(region: tuple[Array, Array]) -> Array:
        box, truth = region
        mask = (instances == truth + 1).astype(logits.dtype)
        return roi_align(mask[None, ..., None], box[None, None], (height, width))[0, 0, ..., 0]

    # One after another, because all masks at once would take much memory.
    targets = lax.map(target, (regions["boxes"].astype(logits.dtype), regions["truth"]))
    of_class = jnp.take_along_axis(logits, of_label[:, None, None, None], axis=3)[..., 0]
    entropy = optax.losses.sigmoid_binary_cross_entropy(of_class, targets)
    of_region = jnp.mean(entropy, axis=(1, 2))
    return (
        {"mask_loss": jnp.sum(jnp.where(positive, of_region, 0))},
        {"mask_loss": jnp.sum(positive)},
    )


def _box_losses(
    deltas: Array,
    boxes: Array,
    anchors: Array,
    positive: Array,
    weights: tuple[float, float, float, float] = (1, 1, 1, 1),
) -> Array:
    """Sum of the smooth L1 losses of the positives."""
    # Elsewhere any pair of boxes whose code is finite.
    boxes = jnp.where(positive[:, None], boxes, jnp.asarray([0, 0, 1, 1], boxes.dtype)[None])
    anchors = jnp.where(positive[:, None], anchors, boxes)
    error = deltas - encode_boxes(boxes, anchors, weights)
    # Huber's loss divided by beta.
    losses = optax.losses.huber_loss(error, delta=BETA) / BETA
    return jnp.sum(jnp.where(positive[:, None], losses, 0))
