"""Classes of a detector whose class 0 is the background, and those of a data set that has none."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Int

from cnn_jax.errors import ConfigError

Labels = Int[Array, "*axes"]
"""Classes of objects; -1 is padding."""


def with_background(labels: Labels, background: bool) -> Labels:
    """Labels of a data set by the numbers of the model, in which the background is no object.

    Args:
        labels: of the data set.
        background: whether the data set's class 0 is the background too.
    """
    return (
        jnp.where(labels > 0, labels, -1) if background else jnp.where(labels < 0, -1, labels + 1)
    )


def without_background(labels: Labels, background: bool) -> Labels:
    """The inverse of `with_background`."""
    return labels if background else jnp.maximum(labels - 1, -1)


def check_with_background(model: nn.Module, dataset: Any, background: bool) -> None:
    """Raise ConfigError if the data set has more classes than the model beside the background."""
    outputs, needed = getattr(model, "num_classes", 0), dataset.num_classes + (not background)
    if outputs < needed:
        raise ConfigError(
            f"the model has {outputs} outputs, and {dataset.title} needs {needed}, one of them "
            f"for the background; create the model with num_classes={needed}"
        )
