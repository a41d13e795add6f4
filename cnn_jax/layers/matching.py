"""Which true box each anchor is responsible for, and which anchors a detector is trained on."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, Shaped

from cnn_jax.errors import ConfigError

BELOW, BETWEEN = -1, -2
"""Instead of a true box: the anchor shows the background, or is not used."""


def match_anchors(
    quality: Float[Array, "truths anchors"],
    high: float,
    low: float,
    *,
    mask: Bool[Array, " truths"] | None = None,
    low_quality: bool = False,
) -> Int[Array, " anchors"]:
    """For each anchor the true box that fits best, `BELOW` or `BETWEEN`; torchvision's `Matcher`.

    Of equally good boxes the first is taken. Without true boxes all anchors are `BELOW`.

    Args:
        quality: how well they fit, such as `pairwise_iou`; at least 0.
        high: an anchor whose best quality is at least this has this box.
        low: one whose best quality is less shows the background.
        mask: which true boxes there are; the others are padding.
        low_quality: also match the anchors that are the best of a true box, whatever the quality
            (all of them if several are equally good), each with its own best box.

    Raises:
        ConfigError: if `low` is more than `high`.
    """
    if low > high:
        raise ConfigError(f"low must be at most high, got low={low} and high={high}")
    truths, anchors = quality.shape
    if truths == 0:
        return jnp.full(anchors, BELOW, jnp.int32)
    there = jnp.ones((truths, 1), bool) if mask is None else mask[:, None]
    quality = jnp.where(there, quality, -1)
    best = jnp.max(quality, axis=0)
    best_truth = jnp.argmax(quality, axis=0).astype(jnp.int32)
    unmatched = jnp.where(best < low, BELOW, BETWEEN)
    matches = jnp.where(best < high, unmatched, best_truth)
    if low_quality:
        of_truth = jnp.max(quality, axis=1, keepdims=True, initial=-1)
        best_of_a_truth = jnp.any((quality == of_truth) & there, axis=0)
        matches = jnp.where(best_of_a_truth, best_truth, matches)
    # Only padding is worse than 0.
    return jnp.where(best < 0, BELOW, matches).astype(jnp.int32)


def match_every_truth(
    matches: Int[Array, " anchors"],
    quality: Float[Array, "truths anchors"],
    *,
    mask: Bool[Array, " truths"] | None = None,
) -> Int[Array, " anchors"]:
    """Give each true box the anchor that fits it best, as SSD does; the last of several has it."""
    truths, anchors = quality.shape
    if truths == 0:
        return matches
    best = jnp.argmax(quality, axis=1)
    if mask is not None:
        best = jnp.where(mask, best, anchors)
    numbers = jnp.arange(truths, dtype=jnp.int32)
    claimed = jnp.full(anchors, -1, jnp.int32).at[best].max(numbers, mode="drop")
    return jnp.where(claimed >= 0, claimed, matches)


class Sample(NamedTuple):
    """A sample of fixed size.

    Attributes:
        indices: of the drawn elements, in order, and then of others; each at most once.
        mask: which of them were drawn.
    """

    indices: Int[Array, " number"]
    mask: Bool[Array, " number"]


def sample_balanced(
    key: Key[Array, ""],
    labels: Shaped[Array, " anchors"],
    number: int,
    positive_fraction: float,
) -> Sample:
    """Draw positives and negatives, as torchvision's `BalancedPositiveNegativeSampler`.

    Args:
        key: random key.
        labels: at least 1 is positive, 0 is negative, and negative ones are not drawn.
        number: most elements to draw. If there are fewer elements, the sample has their number.
        positive_fraction: most positives, as a part of the number. Negatives fill up the sample.
    """
    positive, negative = labels >= 1, labels == 0
    noise = jax.random.uniform(key, labels.shape)
    most_positive = jnp.minimum(jnp.sum(positive), int(number * positive_fraction))
    drawn = _first(positive, noise, most_positive) | _first(negative, noise, number - most_positive)
    indices = jnp.argsort(~drawn, stable=True)[:number]
    return Sample(indices.astype(jnp.int32), drawn[indices])


def _first(candidates: Array, noise: Array, number: Array) -> Array:
    """Those candidates whose noise is among the `number` smallest."""
    order = jnp.argsort(jnp.where(candidates, noise, jnp.inf))
    rank = jnp.zeros_like(order).at[order].set(jnp.arange(len(order), dtype=order.dtype))
    return candidates & (rank < number)
