"""Losses: pure functions of a batch's outputs and targets that return one number per example.

A loss that compares each output with its own target sums over all outputs of an example, which may
be a number, a vector or an image. It is not divided by the number of outputs, so it is the negative
log-likelihood of the whole example.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Real

from cnn_jax.layers import relu

Outputs = Float[Array, "batch *outputs"]
Targets = Real[Array, "batch *outputs"]
ClassOutputs = Float[Array, "batch classes"]
Labels = Int[Array, " batch"] | Float[Array, "batch classes"]
Losses = Float[Array, " batch"]


def squared_error(outputs: Outputs, targets: Targets) -> Losses:
    """Sum over outputs of (output - target)^2.

    Up to a constant it is the negative log-likelihood of a Gaussian with variance 1/2 around the
    output. It equals `torch.nn.functional.mse_loss` with a sum as reduction; some textbooks add a
    factor 1/2.

    Raises:
        ValueError: shapes differ.
    """
    return _sum_over_outputs(jnp.square, outputs, targets)


def absolute_error(outputs: Outputs, targets: Targets) -> Losses:
    """Sum over outputs of |output - target|, like `torch.nn.functional.l1_loss`.

    The derivative at equality is 0.

    Raises:
        ValueError: shapes differ.
    """
    # The derivative of jnp.abs at 0 is 1.
    return _sum_over_outputs(lambda e: jnp.maximum(e, -e), outputs, targets)


def huber_loss(outputs: Outputs, targets: Targets, *, delta: float = 1.0) -> Losses:
    """Sum over outputs of Huber's loss of the error e, like `torch.nn.functional.huber_loss`.

    It is e^2 / 2 where |e| <= delta, and delta (|e| - delta / 2) elsewhere (Huber 1964).

    Raises:
        ValueError: shapes differ, or delta is not positive.
    """
    if delta <= 0:
        raise ValueError(f"delta must be positive, got {delta}; absolute_error is the limit at 0")
    return _sum_over_outputs(lambda e: optax.losses.huber_loss(e, delta=delta), outputs, targets)


def logistic_loss(outputs: Outputs, targets: Targets) -> Losses:
    """Sum over outputs of log(1 + exp(-y f)), for targets y of +1 and -1.

    It is the negative log-likelihood of y where P(y = +1) = sigmoid(f), and a numerically stable
    `torch.nn.functional.soft_margin_loss`.

    Raises:
        ValueError: shapes differ.
    """
    _check_same_shape(outputs, targets)
    return _sum(jax.nn.softplus(-targets.astype(outputs.dtype) * outputs))


def binary_cross_entropy(logits: Outputs, targets: Targets) -> Losses:
    """Sum over outputs of the cross entropy, for targets between 0 and 1.

    It equals `torch.nn.functional.binary_cross_entropy_with_logits`. For targets 0 and 1 it is
    `logistic_loss` with targets -1 and +1.

    Raises:
        ValueError: shapes differ.
    """
    _check_same_shape(logits, targets)
    return _sum(optax.losses.sigmoid_binary_cross_entropy(logits, targets))


def hinge_loss(outputs: Outputs, targets: Targets) -> Losses:
    """Sum over outputs of max(0, 1 - y f), for targets y of +1 and -1 (Cortes and Vapnik 1995).

    The derivative at the margin is 0.

    Raises:
        ValueError: shapes differ.
    """
    _check_same_shape(outputs, targets)
    return _sum(relu(1 - targets.astype(outputs.dtype) * outputs))


def softmax_cross_entropy(
    logits: ClassOutputs, labels: Labels, *, label_smoothing: float = 0.0
) -> Losses:
    """Negative log-likelihood of each label under softmax of the logits.

    It equals `torch.nn.functional.cross_entropy`. With label smoothing s the target is 1 - s times
    the label plus s / classes for every class (Szegedy et al. 2016, section 7). The logit of a
    class with target 0 may be -inf.

    Args:
        logits: outputs before the softmax.
        labels: the class of each example, or the probabilities of all classes.
        label_smoothing: between 0 and 1.

    Raises:
        ValueError: labels of another shape or dtype, or label smoothing out of range.
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must be between 0 and 1, got {label_smoothing}")
    targets = class_targets(labels, logits)
    if label_smoothing:
        targets = optax.losses.smooth_labels(targets, label_smoothing)
    return optax.losses.safe_softmax_cross_entropy(logits, targets)


def multiclass_hinge_loss(outputs: ClassOutputs, labels: Labels) -> Losses:
    """max(0, 1 + max_j f_j - f_y) over the classes j other than the label y.

    Source: Crammer and Singer 2001. For soft labels it is the expectation over y.
    `torch.nn.MultiMarginLoss` is another loss: it sums over the other classes instead of taking the
    largest.

    Raises:
        ValueError: fewer than two classes, or labels of another shape or dtype.
    """
    if outputs.shape[-1] < 2:
        raise ValueError(f"a hinge loss needs two classes or more, got outputs {outputs.shape}")
    targets = class_targets(labels, outputs)
    losses = relu(1 + _largest_other(outputs) - outputs)
    return jnp.sum(targets * losses, axis=-1, where=targets != 0)


def _largest_other(outputs: ClassOutputs) -> ClassOutputs:
    """For each class the largest output among the other classes."""
    largest, is_largest = _largest(outputs)
    second, _ = _largest(jnp.where(is_largest, -jnp.inf, outputs))
    return jnp.where(is_largest, second, largest)


def _largest(
    outputs: ClassOutputs,
) -> tuple[Float[Array, "batch 1"], Bool[Array, "batch classes"]]:
    """The largest output, the first of equal ones, and where it is.

    The gradient goes to that output alone; jnp.max would divide it among equal ones, and lax.top_k
    would gather a batch that is sharded over devices.
    """
    is_largest = jax.nn.one_hot(jnp.argmax(outputs, axis=-1), outputs.shape[-1], dtype=bool)
    return jnp.sum(outputs, axis=-1, keepdims=True, where=is_largest), is_largest


def one_versus_rest_logistic_loss(outputs: ClassOutputs, labels: Labels) -> Losses:
    """Sum over classes of `logistic_loss`: +1 for the label's class, -1 for the others.

    Each output is a separate binary classifier (Rifkin and Klautau 2004, "In Defense of One-Vs-All
    Classification"). For soft labels it is the expectation over the label.

    Raises:
        ValueError: labels of another shape or dtype.
    """
    return binary_cross_entropy(outputs, class_targets(labels, outputs))


def one_hot_squared_error(outputs: ClassOutputs, labels: Labels) -> Losses:
    """Sum over classes of `squared_error` from the one-hot label.

    Source: Hui and Belkin 2021, "Evaluation of Neural Architectures Trained with Square Loss vs
    Cross-Entropy in Classification Tasks", which divides by the number of classes. For soft labels
    it is the squared error from them; its gradient equals that of the expectation over the label.

    Raises:
        ValueError: labels of another shape or dtype.
    """
    return squared_error(outputs, class_targets(labels, outputs))


def class_targets(labels: Labels, outputs: ClassOutputs) -> ClassOutputs:
    """One-hot labels in the dtype of the outputs; soft labels are returned as they are.

    A label that is not a class gives NaN, because nothing can be raised under `jit`.

    Raises:
        ValueError: labels that are neither integers [batch] nor floats [batch, classes].
    """
    if jnp.issubdtype(labels.dtype, jnp.floating) and labels.shape == outputs.shape:
        return labels.astype(outputs.dtype)
    if not jnp.issubdtype(labels.dtype, jnp.integer) or labels.shape != outputs.shape[:1]:
        raise ValueError(
            f"outputs of shape {outputs.shape} need labels as integers of shape "
            f"{outputs.shape[:1]} or as probabilities (floats) of shape {outputs.shape}, got "
            f"{labels.dtype} of shape {labels.shape}"
        )
    classes = outputs.shape[-1]
    is_class = (labels >= 0) & (labels < classes)
    one_hot = jax.nn.one_hot(labels, classes, dtype=outputs.dtype)
    return jnp.where(is_class[:, None], one_hot, jnp.nan)


def _sum_over_outputs(
    function: Callable[[Array], Array], outputs: Outputs, targets: Targets
) -> Losses:
    _check_same_shape(outputs, targets)
    return _sum(function(outputs - targets.astype(outputs.dtype)))


def _sum(losses: Outputs) -> Losses:
    return jnp.sum(losses, axis=tuple(range(1, losses.ndim)))


def _check_same_shape(outputs: Array, targets: Array) -> None:
    # [batch] beside [batch, 1] would broadcast to [batch, batch].
    if outputs.shape != targets.shape:
        raise ValueError(
            f"outputs of shape {outputs.shape} need targets of the same shape, got {targets.shape}"
        )
