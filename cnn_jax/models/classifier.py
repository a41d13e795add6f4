"""The last layer of a classifier, which may be left out."""

from collections.abc import Callable
from typing import Any

from jaxtyping import Array

from cnn_jax.layers import Linear
from cnn_jax.models import torch_names


def make_classifier(
    num_classes: int | None, linear: Callable[..., Any] = Linear, **options: Any
) -> Callable[[Array], Array]:
    """The linear layer that gives the logits, or the identity for 0 classes.

    Args:
        num_classes: number of logits.
        linear: makes the layer of a number of outputs.
        options: attributes of the layer.
    """
    return linear(num_classes, **options) if num_classes else _features


def _features(x: Array) -> Array:
    return x


def classifier_names(num_classes: int | None, torch: str, path: str) -> dict[str, str]:
    """The entries of `make_classifier` (see `torch_names`)."""
    return torch_names.linear(torch, path) if num_classes else {}
