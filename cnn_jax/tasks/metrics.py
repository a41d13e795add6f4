"""Metrics: sums over examples that add up exactly over batches and devices.

`accuracy` and `top_k_accuracy` return one number per label, as losses do; the metric is their
mean. The other metrics are not means over labels. They have two parts: sums over a batch, and a
function of the added-up sums that runs on the host. Examples of weight 0 do not count, and neither
do labels that equal `ignore_index`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from cnn_jax.errors import ConfigError
from cnn_jax.layers.mesh_axes import mapped_axes
from cnn_jax.tasks.labels import (
    ClassOutputs,
    Labels,
    PerLabel,
    check_labels,
    counted,
    hard_labels,
)
from cnn_jax.tasks.output_layers import decision

Weight = Float[Array, " batch"] | None


def weighted_sums(
    weight: Float[Array, " batch"], /, **values: Float[Array, "batch ..."]
) -> dict[str, Float[Array, ""]]:
    """The weighted sum of each value, and as ``weight``, if it is no value, that of the weights."""
    weight = weight.astype(jnp.result_type(*values.values()))
    sums = {name: jnp.sum(value * _beside(weight, value)) for name, value in values.items()}
    return {"weight": jnp.sum(weight), **sums}


def sums_of_means(
    weight: Float[Array, " batch"],
    losses: dict[str, Float[Array, " batch"]],
    counts: dict[str, Int[Array, " batch"]],
) -> dict[str, Float[Array, ""]]:
    """`weighted_sums` of losses that are means over samples, of which images have various numbers.

    A mean is over the samples of all images of the batch, on all devices. Each device has the sum
    over its images, scaled so that the sums of all devices are the mean times the sum of weights.

    Args:
        weight: of each image.
        losses: sums over the samples of each image.
        counts: the numbers of these samples, by the losses' names.
    """
    sums = weighted_sums(weight, **losses)
    for name in losses:
        whole = jnp.stack([sums["weight"], jnp.sum(weight * counts[name])])
        if axes := mapped_axes():
            whole = lax.psum(whole, axes)
        sums[name] *= whole[0] / jnp.where(whole[1] > 0, whole[1], 1)
    return sums


def _beside(weight: Float[Array, " batch"], value: Float[Array, "batch ..."]) -> Array:
    """The weights of examples, with the rank of the value."""
    return weight.reshape(-1, *[1] * (value.ndim - 1))


def mean(total: Any, weight: Any) -> float:
    """A weighted sum over examples divided by the sum of the weights; 0 without examples."""
    return float(total) / float(np.maximum(weight, 1e-30))


def accuracy(outputs: ClassOutputs, labels: Labels, *, ignore_index: int | None = None) -> PerLabel:
    """1 where the largest output is that of the label, else 0; 0 for an ignored label.

    The first of equal outputs counts as the largest. The label of soft labels is the most probable
    class.

    Raises:
        ConfigError: labels that do not belong to the outputs.
    """
    check_labels(outputs, labels, ignore_index)
    correct = (decision(outputs) == hard_labels(labels)) & counted(labels, ignore_index)
    return correct.astype(outputs.dtype)


def top_k_accuracy(
    outputs: ClassOutputs, labels: Labels, k: int = 5, *, ignore_index: int | None = None
) -> PerLabel:
    """1 where the label is among the k largest outputs, else 0; 0 for an ignored label.

    The first of equal outputs count as larger, so k = 1 is `accuracy`.

    Raises:
        ConfigError: k is not between 1 and the number of classes, or labels that do not belong to
            the outputs.
    """
    check_labels(outputs, labels, ignore_index)
    classes = outputs.shape[-1]
    if not 1 <= k <= classes:
        raise ConfigError(f"k must be between 1 and the {classes} classes, got {k}")
    _, largest = lax.top_k(outputs, k)
    found = jnp.any(largest == hard_labels(labels)[..., None], axis=-1)
    return (found & counted(labels, ignore_index)).astype(outputs.dtype)


def confusion_counts(
    outputs: ClassOutputs,
    labels: Labels,
    weight: Weight = None,
    *,
    ignore_index: int | None = None,
) -> Float[Array, "classes classes"]:
    """Number of labels of each true class (row) by predicted class (column).

    Counts of batches add up. `cnn_jax.visual.confusion_matrix` draws them.

    Raises:
        ConfigError: labels that do not belong to the outputs.
    """
    weights = _weights(outputs, labels, weight, ignore_index).ravel()
    classes = outputs.shape[-1]
    true = jax.nn.one_hot(hard_labels(labels).ravel(), classes, dtype=outputs.dtype)
    predicted = jax.nn.one_hot(decision(outputs).ravel(), classes, dtype=outputs.dtype)
    # Accelerators round the factors of a matrix product by default.
    return jnp.matmul((true * weights[:, None]).T, predicted, precision=lax.Precision.HIGHEST)


def class_scores(
    counts: Float[np.ndarray, "classes classes"] | Int[np.ndarray, "classes classes"],
) -> dict[str, Float[np.ndarray, " classes"]]:
    """Precision, recall, F1 and support of each class, from added-up `confusion_counts`.

    Precision is the share of the examples predicted as the class that are of it, recall the share
    of its examples that are predicted as it, F1 their harmonic mean, support the number of its
    examples. A share of no examples is 0, as in scikit-learn's `classification_report`.
    """
    counts = np.asarray(counts, np.float64)
    right, support, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    return {
        "precision": right / np.maximum(predicted, 1),
        "recall": right / np.maximum(support, 1),
        "f1": 2 * right / np.maximum(support + predicted, 1),
        "support": support,
    }


def calibration_sums(
    probabilities: ClassOutputs,
    labels: Labels,
    weight: Weight = None,
    *,
    bins: int = 15,
    ignore_index: int | None = None,
) -> dict[str, Float[Array, " bins"]]:
    """Sums over the labels of each bin of confidence, for `calibration_error`.

    The confidence is the largest probability. Bin m of M holds confidences in ((m - 1) / M, m / M].

    Args:
        probabilities: of all classes, such as `output_layers.softmax` of the logits.
        labels: the class of each output.
        weight: weight of each example; None means 1.
        bins: number M of bins of equal width.
        ignore_index: a label that does not count; None counts all.

    Raises:
        ConfigError: labels that do not belong to the probabilities.
    """
    weights = _weights(probabilities, labels, weight, ignore_index).ravel()
    correct = accuracy(probabilities, labels, ignore_index=ignore_index).ravel()
    confidence = jnp.max(probabilities, axis=-1).ravel()
    edges = jnp.asarray(np.linspace(0, 1, bins + 1)[1:-1], probabilities.dtype)
    number = jnp.sum(confidence[:, None] > edges[None, :], axis=-1)
    inside = jax.nn.one_hot(number, bins, dtype=probabilities.dtype)
    inside = inside * weights[:, None]
    return {
        "weight": jnp.sum(inside, axis=0),
        "confidence": jnp.sum(inside * confidence[:, None], axis=0),
        "correct": jnp.sum(inside * correct[:, None], axis=0),
    }


def calibration_error(sums: dict[str, Any]) -> float:
    """Expected calibration error from added-up `calibration_sums`, between 0 and 1.

    It is the absolute difference of accuracy and mean confidence, averaged over bins and weighted
    by their numbers of examples (Guo et al. 2017, "On Calibration of Modern Neural Networks",
    equation 3, with 15 bins).
    """
    wide = {name: np.asarray(values, np.float64) for name, values in sums.items()}
    gaps = np.abs(wide["correct"] - wide["confidence"])
    return mean(np.sum(gaps), np.sum(wide["weight"]))


def rmse(squared_error: Any, weight: Any) -> float:
    """Root mean squared error, from the sums of squared errors and of weights."""
    return float(np.sqrt(mean(squared_error, weight)))


def _weights(
    outputs: ClassOutputs, labels: Labels, weight: Weight, ignore_index: int | None
) -> PerLabel:
    """The weight of each label: that of its example, or 0."""
    check_labels(outputs, labels, ignore_index)
    counts = counted(labels, ignore_index).astype(outputs.dtype)
    return counts if weight is None else counts * _beside(weight.astype(outputs.dtype), counts)
