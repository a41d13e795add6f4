"""Checks of a model's input and attributes."""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax import Array

from cnn_jax.errors import ConfigError

LEAST_ANCHOR = 2
"""Pixels of the least side of an anchor."""


def check_images(images: Array | np.ndarray, smallest: int) -> None:
    """Raise ConfigError unless images are [batch, height, width, channels] and large enough.

    Args:
        images: the model's input.
        smallest: smallest height and width, in pixels.
    """
    expected = "expected images as [batch, height, width, channels]"
    if images.ndim != 4:
        raise ConfigError(f"{expected}, got shape {images.shape}")
    _, height, width, channels = images.shape
    if height in (1, 3) and channels > 4:
        raise ConfigError(
            f"{expected}, got shape {images.shape}, which looks like [batch, channels, height, "
            "width]; transpose it by (0, 2, 3, 1)"
        )
    if min(height, width) < smallest:
        raise ConfigError(
            f"images of {height}x{width} pixels are too small for this model, which needs at "
            f"least {smallest}x{smallest}; resize them (--data.image-size {smallest}) or take a "
            "model with a smaller stride"
        )


def as_num_classes(num_classes: Any) -> int:
    """The number of classes, where None is 0: features in place of logits.

    Raises:
        ConfigError: unless it is None or an integer of at least 0.
    """
    try:
        number = 0 if num_classes is None else operator.index(num_classes)
    except TypeError:
        number = -1
    if number < 0:
        raise ConfigError(
            "num_classes must be a number of classes, or 0 for the features before the last layer, "
            f"got {num_classes!r}"
        )
    return number


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise ConfigError unless the value of an attribute is one of the choices."""
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def check_labels(labels: Array | np.ndarray | None, num_classes: int) -> None:
    """Raise ConfigError unless there are labels exactly where a model is conditional on classes."""
    if (labels is None) == bool(num_classes):
        got = "no labels" if labels is None else "labels"
        raise ConfigError(
            f"got {got} with num_classes={num_classes}: a class-conditional model needs labels, "
            "and others take none"
        )


def check_anchor_sizes(sizes: Sequence[float], levels: int) -> None:
    """Raise ConfigError unless there is an anchor size for each level, whose anchors have an area.

    Anchors end at whole pixels.
    """
    if len(sizes) != levels:
        raise ConfigError(
            f"anchor_sizes must have a value for each of {levels} levels, got {sizes}"
        )
    if min(sizes) < LEAST_ANCHOR:
        raise ConfigError(
            f"anchor_sizes must be at least {LEAST_ANCHOR} pixels, because smaller anchors are "
            f"rounded to nothing, got {sizes}"
        )


def check_channels(channels: int, groups: int) -> None:
    """Raise ConfigError unless channels can be divided into groups."""
    if channels < 1 or channels % groups:
        multiple = f"a multiple of {groups}" if groups > 1 else "at least 1"
        raise ConfigError(f"channels must be {multiple}, got {channels}")


def check_classes(num_classes: int) -> None:
    """Raise ConfigError for a detector without classes."""
    if not num_classes:
        raise ConfigError("a detector needs classes, the background among them: set num_classes")
