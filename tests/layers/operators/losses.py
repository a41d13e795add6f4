"""Losses and output layers, of cnn_jax.tasks."""

from functools import partial

import numpy as np

from cnn_jax import tasks
from tests.layers.parity import Operator

SCALES = (1.0, 1.0, 30.0)


def shape_of(draw):
    """Of a batch of numbers, of vectors or of images."""
    return tuple(draw.integer(1, 4) for _ in range(draw.choice((1, 2, 2, 4))))


def sample_real(draw):
    shape = shape_of(draw)
    return (draw.choice(SCALES) * draw.array(*shape), draw.array(*shape)), {}


def sample_huber(draw):
    return sample_real(draw)[0], {"delta": draw.choice((0.1, 1.0, 2.5))}


def sample_signs(draw):
    shape = shape_of(draw)
    signs = np.sign(draw.array(*shape)).astype(np.int64)
    return (draw.choice(SCALES) * draw.array(*shape), signs), {}


def sample_probabilities(draw):
    """Targets of 0 and 1, or anything between."""
    (logits, signs), _ = sample_signs(draw)
    soft = 1 / (1 + np.exp(-draw.array(*logits.shape)))
    return (logits, draw.choice(((signs + 1) / 2, soft))), {}


def sample_logits(draw):
    return draw.choice(SCALES) * draw.array(draw.integer(1, 5), draw.integer(2, 12))


def sample_labels(draw):
    """Integers, as for most uses, or probabilities of all classes."""
    logits = sample_logits(draw)
    odds = np.exp(draw.array(*logits.shape))
    return (logits, draw.choice((odds.argmax(1), odds / odds.sum(1, keepdims=True)))), {}


def sample_integer_labels(draw):
    logits = sample_logits(draw)
    return (logits, draw.array(*logits.shape).argmax(1)), {}


def sample_smoothed(draw):
    return sample_labels(draw)[0], {"label_smoothing": draw.choice((0.0, 0.1, 0.5, 1.0))}


def torch_loss(name, outputs, targets, **settings):
    """PyTorch's loss of each output, summed over those of an example."""
    from torch.nn import functional

    if name != "cross_entropy":  # the one that takes integers
        targets = targets.to(outputs.dtype)
    losses = getattr(functional, name)(outputs, targets, reduction="none", **settings)
    return losses.sum(dim=tuple(range(1, losses.ndim))) if losses.ndim > 1 else losses


def torch_logistic(outputs, signs):
    """The definition; PyTorch's own soft_margin_loss is infinite at logits of -89 in float32."""
    from torch.nn import functional

    losses = -functional.logsigmoid(signs * outputs)
    return losses.sum(dim=tuple(range(1, losses.ndim))) if losses.ndim > 1 else losses


def torch_hinge(outputs, targets):
    """PyTorch's is of a distance: max(0, 1 - distance) where its target is -1."""
    import torch

    return torch_loss("hinge_embedding_loss", targets * outputs, -torch.ones_like(outputs))


def torch_multiclass_hinge(outputs, labels):
    """The definition, class by class: MultiMarginLoss adds up all other classes."""
    import torch

    expected = []
    for f, y in zip(outputs, torch_targets(outputs, labels), strict=True):
        others = [torch.cat([f[:k], f[k + 1 :]]).max() for k in range(len(f))]
        losses = [torch.clamp(1 + other - f[k], min=0) for k, other in enumerate(others)]
        expected.append(torch.sum(y * torch.stack(losses)))
    return torch.stack(expected)


def torch_targets(outputs, labels):
    import torch

    if labels.is_floating_point():
        return labels
    return torch.nn.functional.one_hot(labels, outputs.shape[1]).to(outputs.dtype)


def torch_against_the_rest(outputs, labels):
    return torch_logistic(outputs, 2 * torch_targets(outputs, labels) - 1)


def torch_one_hot_squared(outputs, labels):
    return torch_loss("mse_loss", outputs, torch_targets(outputs, labels))


OPERATORS = (
    Operator("squared_error", sample_real, tasks.squared_error, partial(torch_loss, "mse_loss")),
    Operator("absolute_error", sample_real, tasks.absolute_error, partial(torch_loss, "l1_loss")),
    Operator("huber_loss", sample_huber, tasks.huber_loss, partial(torch_loss, "huber_loss")),
    Operator("logistic_loss", sample_signs, tasks.logistic_loss, torch_logistic),
    Operator(
        "binary_cross_entropy",
        sample_probabilities,
        tasks.binary_cross_entropy,
        partial(torch_loss, "binary_cross_entropy_with_logits"),
    ),
    Operator("hinge_loss", sample_signs, tasks.hinge_loss, torch_hinge),
    Operator(
        "softmax_cross_entropy",
        sample_smoothed,
        tasks.softmax_cross_entropy,
        partial(torch_loss, "cross_entropy"),
    ),
    Operator(
        "multiclass_hinge_loss",
        sample_labels,
        tasks.multiclass_hinge_loss,
        torch_multiclass_hinge,
    ),
    Operator(
        "one_versus_rest_logistic_loss",
        sample_integer_labels,
        tasks.one_versus_rest_logistic_loss,
        torch_against_the_rest,
    ),
    Operator(
        "one_hot_squared_error",
        sample_integer_labels,
        tasks.one_hot_squared_error,
        torch_one_hot_squared,
    ),
    Operator(
        "softmax", lambda draw: ((sample_logits(draw),), {}), tasks.softmax, lambda x: x.softmax(1)
    ),
)
