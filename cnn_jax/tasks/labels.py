"""Labels of classes: what they must be, their targets and weights, and which of them count.

Labels are one class for each output, [batch] for images and [batch, height, width] for pixels, or
soft: the probabilities of all classes (after mixup), with an axis more.
"""

from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from cnn_jax.errors import ConfigError
from cnn_jax.layers.arguments import check_axes
from cnn_jax.tasks.output_layers import decision

ClassOutputs = Float[Array, "batch *space classes"]
Labels = Int[Array, "batch *space"] | Float[Array, "batch *space classes"]
PerLabel = Float[Array, "batch *space"]


def check_labels(outputs: ClassOutputs, labels: Labels, ignore_index: int | None = None) -> None:
    """Check that labels belong to outputs.

    Under `jit` only dtype and shape are known. The values of other arrays are checked too.

    Raises:
        ConfigError: labels that are neither integers [batch, …] nor floats [batch, …, classes],
            labels that are no class, or soft labels of which one is to be ignored.
    """
    check_axes("batch *space classes", outputs=outputs)
    if is_soft(labels) and labels.shape == outputs.shape:
        if ignore_index is not None:
            raise ConfigError(
                f"ignore_index {ignore_index} is for labels that are integers, got soft labels of "
                f"shape {labels.shape}; set it to None, or give them the weight 0"
            )
        return
    if not jnp.issubdtype(labels.dtype, jnp.integer) or labels.shape != outputs.shape[:-1]:
        raise ConfigError(
            f"outputs of shape {outputs.shape} need labels as integers of shape "
            f"{outputs.shape[:-1]} or as probabilities (floats) of shape {outputs.shape}, got "
            f"{labels.dtype} of shape {labels.shape}"
        )
    # Tracers have no values, and other hosts have parts of their own.
    if isinstance(labels, jax.core.Tracer) or not getattr(labels, "is_fully_addressable", True):
        return
    check_classes(np.asarray(labels), outputs.shape[-1], ignore_index)


def check_classes(labels: np.ndarray, classes: int, ignore_index: int | None = None) -> None:
    """Raise ConfigError if a label is neither a class, from 0 to classes - 1, nor ignored."""
    wrong = (labels < 0) | (labels >= classes)
    if ignore_index is not None:
        wrong &= labels != ignore_index
    if wrong.any():
        way_out = (
            "set ignore_index if such labels shall not count"
            if ignore_index is None
            else f"only {ignore_index} is ignored"
        )
        raise ConfigError(
            f"labels must be classes from 0 to {classes - 1}, got {labels[wrong][0]}; {way_out}"
        )


def is_soft(labels: Labels) -> bool:
    """Whether labels are probabilities of all classes."""
    return jnp.issubdtype(labels.dtype, jnp.floating)


def hard_labels(labels: Labels) -> Int[Array, "batch *space"]:
    """The most probable class of soft labels; integer labels are returned as they are."""
    return decision(labels) if is_soft(labels) else labels


def counted(labels: Labels, ignore_index: int | None) -> Bool[Array, "batch *space"]:
    """Whether each label counts: all but those that equal `ignore_index`."""
    if is_soft(labels):
        return jnp.ones(labels.shape[:-1], bool)
    return jnp.ones_like(labels, bool) if ignore_index is None else labels != ignore_index


def class_targets(
    outputs: ClassOutputs, labels: Labels, ignore_index: int | None = None
) -> ClassOutputs:
    """One-hot labels in the dtype of the outputs; soft labels are returned as they are.

    An ignored label gives zeros. Under `jit`, where nothing can be raised, a label that is not a
    class gives NaN.

    Raises:
        ConfigError: as `check_labels`.
    """
    check_labels(outputs, labels, ignore_index)
    if is_soft(labels):
        return labels.astype(outputs.dtype)
    classes, counts = outputs.shape[-1], counted(labels, ignore_index)
    one_hot = jax.nn.one_hot(jnp.where(counts, labels, -1), classes, dtype=outputs.dtype)
    wrong = counts & ((labels < 0) | (labels >= classes))
    return jnp.where(wrong[..., None], jnp.nan, one_hot)


def per_class(
    outputs: ClassOutputs, class_weights: Sequence[float] | Array | None
) -> Float[Array, " classes"]:
    """The weight of each class in the dtype of the outputs; None is 1 for all.

    Raises:
        ConfigError: another number of weights than classes.
    """
    classes = outputs.shape[-1]
    if class_weights is None:
        return jnp.ones(classes, outputs.dtype)
    weights = jnp.asarray(class_weights, outputs.dtype)
    if weights.shape != (classes,):
        raise ConfigError(
            f"class_weights must be {classes} numbers, one for each class (outputs "
            f"{outputs.shape}), got shape {weights.shape}"
        )
    return weights


def label_weights(
    outputs: ClassOutputs,
    labels: Labels,
    *,
    class_weights: Sequence[float] | Array | None = None,
    ignore_index: int | None = None,
) -> PerLabel:
    """What each label counts in the mean of a weighted loss, as in PyTorch.

    It is the weight of the label's class, 0 for an ignored label, and 1 for a soft label. The mean
    of `torch.nn.functional.cross_entropy` is the sum of the losses divided by the sum of these.

    Args:
        outputs: outputs for all classes.
        labels: the class of each output, or the probabilities of all classes.
        class_weights: weight of each class; None is 1 for all.
        ignore_index: a label that does not count.

    Raises:
        ConfigError: labels or weights that do not belong to the outputs.
    """
    targets = class_targets(outputs, labels, ignore_index)
    weights = per_class(outputs, class_weights)
    if is_soft(labels):
        return jnp.ones(labels.shape[:-1], outputs.dtype)
    return jnp.sum(targets * weights.reshape(*[1] * (targets.ndim - 1), -1), axis=-1)


def balanced_class_weights(
    labels: np.ndarray, num_classes: int, *, ignore_index: int | None = None
) -> tuple[float, ...]:
    """Weights by which all classes of a data set count alike, for `Classification`.

    The weight of a class is n / (classes * its labels), for n labels of that many different classes
    (King and Zeng 2001; "balanced" in scikit-learn). The mean over all labels is 1. A class without
    labels has the weight 0.

    Args:
        labels: of the training split, integers of any shape.
        num_classes: number of classes.
        ignore_index: a label that does not count.

    Raises:
        ConfigError: a label that is no class, or no labels.
    """
    labels = np.asarray(labels)
    check_classes(labels, num_classes, ignore_index)
    if ignore_index is not None:
        labels = labels[labels != ignore_index]
    counts = np.bincount(labels.ravel(), minlength=num_classes)
    if not counts.any():
        raise ConfigError("balanced class weights need labels to count, got none")
    shares = counts * np.count_nonzero(counts) / counts.sum()
    return tuple(float(1 / share) if share else 0.0 for share in shares)


def median_frequency_weights(
    masks: Iterable[np.ndarray], num_classes: int, *, ignore_index: int | None = None
) -> tuple[float, ...]:
    """Weights by which rare classes of a segmentation count more, for `Segmentation`.

    The weight of a class is the median of all classes' frequencies over its own. The frequency of a
    class is its number of pixels over that of all pixels of the images in which it occurs (Eigen
    and Fergus 2015, section 6.3.2; Badrinarayanan et al. 2017, "SegNet", section 4.1). A class
    without pixels has the weight 0, and none in the median.

    Args:
        masks: of the training split, integers [height, width], or an array of all of them.
        num_classes: number of classes.
        ignore_index: a label that does not count; None counts all.

    Raises:
        ConfigError: a label that is no class, or no labels.
    """
    own, together = np.zeros(num_classes), np.zeros(num_classes)
    for mask in map(np.asarray, masks):
        check_classes(mask, num_classes, ignore_index)
        counted_labels = mask if ignore_index is None else mask[mask != ignore_index]
        counts = np.bincount(counted_labels.ravel(), minlength=num_classes)
        own += counts
        together += np.where(counts, counts.sum(), 0)
    if not own.any():
        raise ConfigError("median frequency weights need labels to count, got none")
    frequencies = own / np.maximum(together, 1)
    median = np.median(frequencies[own > 0])
    return tuple(float(median / one) if one else 0.0 for one in frequencies)
