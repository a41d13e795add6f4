"""A data set: named splits, and what training needs to know about them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from cnn_jax.data.augment import Augment, Mix
from cnn_jax.data.examples import Examples, Spec
from cnn_jax.data.splits import Split


@dataclass(frozen=True)
class Stored:
    """A data set as a reader finds it, before train, validation and test are chosen.

    Attributes:
      name: the name in `--data.name`.
      title: the name in a figure's title.
      splits: the examples of every stored split that can be used.
      class_names: one name per class, in the order of the labels.
      defaults: split expressions that replace the usual ones of roles that the user leaves open.
      unusable: the other stored splits, with the reasons. They are errors only if they are used.
      notes: messages for the user.
    """

    name: str
    title: str
    splits: Mapping[str, Examples]
    class_names: tuple[str, ...]
    defaults: Mapping[str, str] = field(default_factory=dict)
    unusable: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """The number of examples of every split."""
        return {name: len(examples) for name, examples in self.splits.items()}

    @property
    def spec(self) -> Spec:
        return next(iter(self.splits.values())).spec


@dataclass(frozen=True)
class Dataset:
    """A data set that is ready for training.

    Attributes:
      name: the name in `--data.name`, such as "cifar10".
      title: the name in a figure's title, such as "CIFAR-10".
      splits: "train", and if available "validation" and "test"; or one of them alone, if nothing
        else was asked for.
      class_names: one name per class, in the order of the labels; empty for a regression.
      mean, std: per channel, of images in [0, 1]; those of the train split, or ImageNet's for
        streams. Empty if there is no train split.
      augment: the augmentations that make sense for these images, in the order of application.
      mix: an augmentation of a whole batch that mixes pairs of images and their labels.
      stand_in: whether "auto" chose this data set because the lecture's own is not available.
      notes: messages for the user at the start of a run.
    """

    name: str
    title: str
    splits: Mapping[str, Split]
    class_names: tuple[str, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    augment: tuple[Augment, ...] = ()
    mix: Mix | None = None
    stand_in: bool = False
    notes: tuple[str, ...] = ()

    @property
    def spec(self) -> Spec:
        """Shape and dtype of each entry of one example, without the batch axis."""
        return next(iter(self.splits.values())).spec

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(height, width, channels) of every image; the shape of one float input."""
        return self.spec["image"].shape

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


def channel_statistics(
    images: UInt8[np.ndarray, "examples height width channels"],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of every channel, of images scaled to [0, 1].

    The sums are integers, so they are exact and do not depend on the order of the examples. The
    standard deviation of a constant channel is 1, so that dividing by it is safe.
    """
    total = np.zeros(images.shape[1:], np.int64)
    total_squares = np.zeros(images.shape[1:], np.int64)
    for start in range(0, len(images), 512):  # sums of 512 squares of a byte fit into 32 bits
        block = images[start : start + 512]
        total += block.sum(axis=0, dtype=np.uint32)
        total_squares += np.square(block, dtype=np.uint16).sum(axis=0, dtype=np.uint32)
    total, total_squares = total.sum(axis=(0, 1)), total_squares.sum(axis=(0, 1))
    count = images.size // images.shape[-1]
    mean = total / count / 255
    variance = total_squares / count / 255**2 - mean**2
    std = np.where(total_squares * count == total**2, 1.0, np.sqrt(np.maximum(variance, 0)))
    return tuple(mean.tolist()), tuple(std.tolist())
