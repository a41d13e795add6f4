"""The flags of a segmentation: its loss and its augmentation."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnn_jax.data import (
    IGNORED,
    ArraySplit,
    Augment,
    DataConfig,
    Dataset,
    colour_jitter,
    load_dataset,
    random_elastic,
    random_flip,
    random_resized_crop,
    random_rotation,
)
from cnn_jax.errors import ConfigError, check_range
from cnn_jax.tasks import Segmentation, median_frequency_weights
from cnn_jax.tasks.segmentation import SegmentationLoss
from experiments.tools.class_weights import class_weights

STRETCH = 4 / 3
"""Largest factor by which a random part of an image changes its ratio of width to height."""

SMOKE_DATA = DataConfig(
    name="shapes",
    image_size=32,
    train="train[:96]",
    validation="validation[:16]",
    test="test[:16]",
)
"""Data for a few steps."""


@dataclass(frozen=True)
class PixelLossConfig:
    """The loss of a segmentation. Pixels of the value 255 never count."""

    name: SegmentationLoss = "softmax"
    """softmax: cross entropy of each pixel; focal: less weight on what is already classified well;
    dice: overlap of each class; softmax_dice: the sum of both."""
    class_weights: tuple[str, ...] = ()
    """Weight of each class, in the order of the classes, with the losses of pixels; median: rare
    classes count more, by the median of all frequencies over their own (SegNet)."""
    focal_gamma: float = 2.0
    """Exponent of the focal loss; 0 is the cross entropy."""

    def __post_init__(self) -> None:
        check_range(self, 0, focal_gamma=self.focal_gamma)


@dataclass(frozen=True)
class PixelAugmentConfig:
    """How training images are changed, each together with its mask."""

    flip: bool = True
    """Exchange left and right with probability 1/2."""
    least_area: float = 0.25
    """Least share of an image that is cut out at random and enlarged to its size; 1: none."""
    rotate: float = 0.0
    """Largest rotation in degrees; 180 for images without up and down."""
    elastic: float = 0.0
    """Standard deviation of an elastic deformation's displacements, in pixels; U-Net's is 10."""
    colour: float = 0.3
    """Largest change of brightness, contrast and saturation, as a share; a sixth of it for hue."""

    def __post_init__(self) -> None:
        check_range(self, 0, 1, above=True, least_area=self.least_area)
        check_range(self, 0, 180, rotate=self.rotate)
        check_range(self, 0, elastic=self.elastic)
        check_range(self, 0, 1, colour=self.colour)


def load_masks(config: DataConfig, augment: PixelAugmentConfig) -> Dataset:
    """Load CamVid or the named data set, with the class of every pixel.

    Raises:
        DataError: as `load_dataset`.
    """

    def suited(image_shape: tuple[int, int, int]) -> list[Augment]:
        height, width, _ = image_shape
        chosen: list[Augment] = [random_flip()] if augment.flip else []
        if augment.least_area < 1:
            ratio = (width / height / STRETCH, width / height * STRETCH)
            chosen.append(random_resized_crop(scale=(augment.least_area, 1.0), ratio=ratio))
        if augment.rotate:
            chosen.append(random_rotation(augment.rotate))
        if augment.elastic:
            chosen.append(random_elastic(augment.elastic))
        if augment.colour:
            share = augment.colour
            chosen.append(colour_jitter(share, share, share, share / 6))
        return chosen

    return load_dataset(config, default="camvid", augment=suited, target="mask")


def segmentation(
    model: Any, loss: PixelLossConfig, dataset: Dataset, **fields: Any
) -> Segmentation:
    """The task of a network for segmentation.

    Args:
        model: gives one output for each class and pixel.
        loss: its loss.
        dataset: has the class names, and the training masks for weights by frequency.
        fields: other fields of the task.

    Raises:
        ConfigError: weights that are neither "median" nor one number for each class; as
            `Segmentation`.
    """
    return Segmentation(
        model,
        loss=loss.name,
        class_weights=_class_weights(loss, dataset),
        focal_gamma=loss.focal_gamma,
        ignore_index=IGNORED,
        class_names=dataset.class_names,
        **fields,
    )


def masks_of(dataset: Dataset, split: str) -> Iterator[np.ndarray]:
    """The masks of a split, one after another.

    Raises:
        ConfigError: the data set has no masks.
    """
    examples = dataset.splits[split]
    if "mask" not in examples.spec:
        raise ConfigError(
            f"{dataset.title} has no masks, only {', '.join(examples.spec)}: name a data set with "
            "a class for every pixel, such as --data.name shapes"
        )
    if isinstance(examples, ArraySplit):
        yield from examples.arrays["mask"]
    else:
        for index in range(len(examples)):
            yield np.asarray(examples[index]["mask"])


def _class_weights(loss: PixelLossConfig, dataset: Dataset) -> tuple[float, ...]:
    given, classes = loss.class_weights, dataset.num_classes
    if given == ("median",):
        masks = masks_of(dataset, "train")
        return median_frequency_weights(masks, classes, ignore_index=IGNORED)
    return class_weights(given, dataset, or_rule="median")
