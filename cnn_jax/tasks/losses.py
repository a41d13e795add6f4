"""Losses: pure functions of a batch's outputs and targets that return one number per example.

A loss that compares each output with its own target sums over all outputs of an example, which may
be a number, a vector or an image. It is not divided by the number of outputs, so it is the negative
log-likelihood of the whole example.

A loss of classes returns one number per label: [batch], or [batch, height, width] if each pixel has
a label. A label that equals `ignore_index` has the loss 0 and no gradient. Under `jit`, a label
that is no class makes its loss NaN; elsewhere it is an error.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Real

from cnn_jax.errors import ConfigError
from cnn_jax.layers import relu
from cnn_jax.layers.arguments import check_axes
from cnn_jax.tasks.labels import ClassOutputs, Labels, PerLabel, class_targets, counted, per_class

Outputs = Float[Array, "batch *outputs"]
Targets = Real[Array, "batch *outputs"]
Losses = Float[Array, " batch"]


def squared_error(outputs: Outputs, targets: Targets) -> Losses:
    """Sum over outputs of (output - target)^2.

    Up to a constant it is the negative log-likelihood of a Gaussian with variance 1/2 around the
    output. It equals `torch.nn.functional.mse_loss` with a sum as reduction; some textbooks add a
    factor 1/2.

    Raises:
        ConfigError: shapes differ.
    """
    return _sum_over_outputs(jnp.square, outputs, targets)


def absolute_error(outputs: Outputs, targets: Targets) -> Losses:
    """Sum over outputs of |output - target|, like `torch.nn.functional.l1_loss`.

    The derivative at equality is 0.

    Raises:
        ConfigError: shapes differ.
    """
    # The derivative of jnp.abs at 0 is 1.
    return _sum_over_outputs(lambda e: jnp.sign(e) * e, outputs, targets)


def huber_loss(outputs: Outputs, targets: Targets, *, delta: float = 1.0) -> Losses:
    """Sum over outputs of Huber's loss of the error e, like `torch.nn.functional.huber_loss`.

    It is e^2 / 2 where |e| <= delta, and delta (|e| - delta / 2) elsewhere (Huber 1964).

    Raises:
        ConfigError: shapes differ, or delta is not positive.
    """
    if delta <= 0:
        raise ConfigError(f"delta must be positive, got {delta}; absolute_error is the limit at 0")
    return _sum_over_outputs(lambda e: optax.losses.huber_loss(e, delta=delta), outputs, targets)


def logistic_loss(outputs: Outputs, targets: Targets) -> Losses:
    """Sum over outputs of log(1 + exp(-y f)), for targets y of +1 and -1.

    It is the negative log-likelihood of y where P(y = +1) = sigmoid(f), and a numerically stable
    `torch.nn.functional.soft_margin_loss`.

    Raises:
        ConfigError: shapes differ.
    """
    _check_same_shape(outputs, targets)
    return _sum(jax.nn.softplus(-targets.astype(outputs.dtype) * outputs))


def binary_cross_entropy(logits: Outputs, targets: Targets) -> Losses:
    """Sum over outputs of the cross entropy, for targets between 0 and 1.

    It equals `torch.nn.functional.binary_cross_entropy_with_logits`. For targets 0 and 1 it is
    `logistic_loss` with targets -1 and +1.

    Raises:
        ConfigError: shapes differ.
    """
    _check_same_shape(logits, targets)
    return _sum(optax.losses.sigmoid_binary_cross_entropy(logits, targets))


def hinge_loss(outputs: Outputs, targets: Targets) -> Losses:
    """Sum over outputs of max(0, 1 - y f), for targets y of +1 and -1 (Cortes and Vapnik 1995).

    The derivative at the margin is 0.

    Raises:
        ConfigError: shapes differ.
    """
    _check_same_shape(outputs, targets)
    return _sum(relu(1 - targets.astype(outputs.dtype) * outputs))


def softmax_cross_entropy(
    logits: ClassOutputs,
    labels: Labels,
    *,
    label_smoothing: float = 0.0,
    class_weights: Sequence[float] | Array | None = None,
    ignore_index: int | None = None,
) -> PerLabel:
    """Negative log-likelihood of each label under softmax of the logits.

    It equals `torch.nn.functional.cross_entropy` without reduction. PyTorch's mean is the sum
    divided by that of `label_weights`. With label smoothing s the target is 1 - s times the label
    plus s / classes for every class (Szegedy et al. 2016, section 7). The logit of a class with
    target 0 may be -inf.

    Args:
        logits: outputs before the softmax.
        labels: the class of each output, or the probabilities of all classes.
        label_smoothing: between 0 and 1.
        class_weights: factor of each class's term; None is 1 for all.
        ignore_index: a label that does not count; None counts all.

    Raises:
        ConfigError: labels or weights that do not belong to the logits, or label smoothing out of
            range.
    """
    if not 0 <= label_smoothing <= 1:
        raise ConfigError(f"label_smoothing must be between 0 and 1, got {label_smoothing}")
    targets = class_targets(logits, labels, ignore_index)
    if label_smoothing:
        targets = optax.losses.smooth_labels(targets, label_smoothing)
    targets = _weighted(targets, class_weights)
    losses = optax.losses.safe_softmax_cross_entropy(logits, targets)
    return jnp.where(counted(labels, ignore_index), losses, 0)


def softmax_focal_loss(
    logits: ClassOutputs,
    labels: Labels,
    *,
    gamma: float = 2.0,
    class_weights: Sequence[float] | Array | None = None,
    ignore_index: int | None = None,
) -> PerLabel:
    """-(1 - p)^gamma log p, for the probability p of each label under softmax of the logits.

    It is the cross entropy, with less weight on what is already classified well; gamma = 0 is the
    cross entropy itself. Source: Lin et al. 2017, "Focal Loss for Dense Object Detection", equation
    4, for several classes. For soft labels it is the expectation over the label.

    Args:
        logits: outputs before the softmax.
        labels: the class of each output, or the probabilities of all classes.
        gamma: exponent, at least 0.
        class_weights: factor of each class's loss, the paper's alpha; None is 1 for all.
        ignore_index: a label that does not count; None counts all.

    Raises:
        ConfigError: labels or weights that do not belong to the logits, or a negative gamma.
    """
    targets = class_targets(logits, labels, ignore_index)
    # As in the cross entropy, the logit of a class with target 0 may be -inf.
    log_p = jnp.where(targets == 0, 0, jax.nn.log_softmax(logits))
    losses = -_weighted(targets, class_weights) * _focus(-jnp.expm1(log_p), gamma) * log_p
    return jnp.sum(losses, axis=-1)


def sigmoid_focal_loss(
    logits: Outputs, targets: Targets, *, alpha: float | None = 0.25, gamma: float = 2.0
) -> Losses:
    """Sum over outputs of -alpha (1 - p)^gamma log p, where p is the probability of the target.

    It equals `torchvision.ops.sigmoid_focal_loss`, summed over the outputs of an example. The
    defaults are the paper's for detection (Lin et al. 2017, equation 5).

    Args:
        logits: outputs before the sigmoid.
        targets: between 0 and 1.
        alpha: weight of target 1, and 1 - alpha that of target 0; None is 1 for both.
        gamma: exponent, at least 0; 0 is `binary_cross_entropy`.

    Raises:
        ConfigError: shapes differ, alpha is not between 0 and 1, or gamma is negative.
    """
    _check_same_shape(logits, targets)
    if alpha is not None and not 0 <= alpha <= 1:
        raise ConfigError(f"alpha must be between 0 and 1, or None, got {alpha}")
    targets = targets.astype(logits.dtype)
    losses = optax.losses.sigmoid_binary_cross_entropy(logits, targets)
    missed = jax.nn.sigmoid(-logits) * targets + jax.nn.sigmoid(logits) * (1 - targets)
    losses = _focus(missed, gamma) * losses
    if alpha is not None:
        losses = (alpha * targets + (1 - alpha) * (1 - targets)) * losses
    return _sum(losses)


def _focus(missed: Outputs, gamma: float) -> Outputs:
    """missed^gamma, for the probability of all but the label."""
    if gamma < 0:
        raise ConfigError(f"gamma must not be negative, got {gamma}")
    # The derivative at 0 is infinite if gamma < 1.
    return jnp.where(missed == 0, jnp.finfo(missed.dtype).tiny, missed) ** gamma


def _weighted(targets: ClassOutputs, class_weights: Sequence[float] | Array | None) -> ClassOutputs:
    if class_weights is None:
        return targets
    weights = per_class(targets, class_weights)
    return targets * weights.reshape(*[1] * (targets.ndim - 1), -1)


def multiclass_hinge_loss(
    outputs: ClassOutputs, labels: Labels, *, ignore_index: int | None = None
) -> PerLabel:
    """max(0, 1 + max_j f_j - f_y) over the classes j other than the label y.

    Source: Crammer and Singer 2001. For soft labels it is the expectation over y.
    `torch.nn.MultiMarginLoss` is another loss: it sums over the other classes instead of taking the
    largest.

    Raises:
        ConfigError: fewer than two classes, or labels that do not belong to the outputs.
    """
    check_axes("batch *space classes", outputs=outputs)
    if outputs.shape[-1] < 2:
        raise ConfigError(f"a hinge loss needs two classes or more, got outputs {outputs.shape}")
    targets = class_targets(outputs, labels, ignore_index)
    losses = relu(1 + _largest_other(outputs) - outputs)
    return jnp.sum(targets * losses, axis=-1, where=targets != 0)


def _largest_other(outputs: ClassOutputs) -> ClassOutputs:
    """For each class the largest output among the other classes."""
    largest, is_largest = _largest(outputs)
    second, _ = _largest(jnp.where(is_largest, -jnp.inf, outputs))
    return jnp.where(is_largest, second, largest)


def _largest(
    outputs: ClassOutputs,
) -> tuple[Float[Array, "batch *space 1"], Bool[Array, "batch *space classes"]]:
    """The largest output, the first of equal ones, and where it is.

    The gradient goes to that output alone; jnp.max would divide it among equal ones, and lax.top_k
    would gather a batch that is sharded over devices.
    """
    is_largest = jax.nn.one_hot(jnp.argmax(outputs, axis=-1), outputs.shape[-1], dtype=bool)
    return jnp.sum(outputs, axis=-1, keepdims=True, where=is_largest), is_largest


def one_versus_rest_logistic_loss(
    outputs: ClassOutputs, labels: Labels, *, ignore_index: int | None = None
) -> PerLabel:
    """Sum over classes of `logistic_loss`: +1 for the label's class, -1 for the others.

    Each output is a separate binary classifier (Rifkin and Klautau 2004, "In Defense of One-Vs-All
    Classification"). For soft labels it is the expectation over the label.

    Raises:
        ConfigError: labels that do not belong to the outputs.
    """
    targets = class_targets(outputs, labels, ignore_index)
    losses = jnp.sum(optax.losses.sigmoid_binary_cross_entropy(outputs, targets), axis=-1)
    return jnp.where(counted(labels, ignore_index), losses, 0)


def one_hot_squared_error(
    outputs: ClassOutputs, labels: Labels, *, ignore_index: int | None = None
) -> PerLabel:
    """Sum over classes of `squared_error` from the one-hot label.

    Source: Hui and Belkin 2021, "Evaluation of Neural Architectures Trained with Square Loss vs
    Cross-Entropy in Classification Tasks", which divides by the number of classes. For soft labels
    it is the squared error from them; its gradient equals that of the expectation over the label.

    Raises:
        ConfigError: labels that do not belong to the outputs.
    """
    targets = class_targets(outputs, labels, ignore_index)
    losses = jnp.sum(jnp.square(outputs - targets), axis=-1)
    return jnp.where(counted(labels, ignore_index), losses, 0)


def _sum_over_outputs(
    function: Callable[[Array], Array], outputs: Outputs, targets: Targets
) -> Losses:
    _check_same_shape(outputs, targets)
    return _sum(function(outputs - targets.astype(outputs.dtype)))


def _sum(losses: Outputs) -> Losses:
    return jnp.sum(losses, axis=tuple(range(1, losses.ndim)))


def _check_same_shape(outputs: Array, targets: Array) -> None:
    check_axes("batch *outputs", outputs=outputs)
    # [batch] beside [batch, 1] would broadcast to [batch, batch].
    if outputs.shape != targets.shape:
        raise ConfigError(
            f"outputs of shape {outputs.shape} need targets of the same shape, got {targets.shape}"
        )
