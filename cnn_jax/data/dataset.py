"""What the rest of the library sees of a data set: named splits of uint8 images and labels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float32, Int, Int32, UInt8
from PIL import Image as PillowImage

from cnn_jax.data.augment import Augment, Mix, RandomResizedCrop
from cnn_jax.errors import UserError

Image = UInt8[np.ndarray, "height width channels"]
Crop = Callable[[PillowImage.Image], PillowImage.Image]
"""Cuts an image of the data set's size out of a whole one, which may have any."""


class DataError(UserError):
    """Something about the data that the user can mend; the message is shown as it is."""


LISTED = 10
"""As many examples are named in a message."""


def some_of(errors: Sequence[str]) -> str:
    """The first errors, a line each, and how many there are beside them."""
    lines = list(errors[:LISTED])
    if len(errors) > LISTED:
        lines.append(f"… and {len(errors) - LISTED:,} more")
    return "\n  ".join(lines)


@runtime_checkable
class Examples(Protocol):
    """Random access to the decoded examples of a split as it is stored: (image, label) pairs."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Image, int]: ...

    def __getitems__(self, indices: list[int]) -> list[tuple[Image, int]]: ...


@runtime_checkable
class EncodedExamples(Examples, Protocol):
    """Examples that are stored as whole images of any size, and cut as they are decoded."""

    def cropped(self, indices: Sequence[int], crops: Sequence[Crop]) -> list[tuple[Image, int]]: ...


@dataclass(frozen=True)
class ArraySplit:
    """A split that is small enough to be decoded once and to live on the device.

    Images are normalized in the training step; float inputs, such as the points of a function,
    are taken as they are. Labels are class numbers, or the values of a regression.

    Raises:
        DataError: inputs or labels that are not finite, or not as many of the one as of the other.
    """

    images: (
        UInt8[np.ndarray, "examples height width channels"] | Float32[np.ndarray, "examples ..."]
    )
    labels: Int32[np.ndarray, " examples"] | Float32[np.ndarray, "examples outputs"]

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise DataError(f"{len(self.images)} inputs have {len(self.labels)} labels")
        for name, values in (("inputs", self.images), ("labels", self.labels)):
            if values.dtype == np.float32 and not np.isfinite(values).all():
                rows = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
                raise DataError(
                    f"the {name} of {np.sum(~rows)} of {len(values)} examples are not finite, the "
                    f"first at {np.argmin(rows)}: leave these examples out, or mend them"
                )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[np.ndarray, Any]:
        return self.images[index], self.labels[index]

    def __getitems__(self, indices: list[int]) -> list[tuple[np.ndarray, Any]]:
        return [self[index] for index in indices]


@dataclass(frozen=True)
class StreamSplit:
    """A split that is decoded as it is needed; `cnn_jax.data.stream.batches` reads it.

    `indices` are the positions in `examples` that belong to the split. With `random_crop`, for
    which `examples` are EncodedExamples, every training image is a random part of the whole one.
    """

    examples: Examples
    indices: Int[np.ndarray, "examples"]
    random_crop: RandomResizedCrop | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Image, int]:
        return self.examples[int(self.indices[index])]


Split = ArraySplit | StreamSplit


@dataclass(frozen=True)
class Stored:
    """A data set as one of the readers finds it, before train, validation and test are chosen.

    `image_shape` is that of every decoded image. `defaults` are split expressions that take the
    place of the usual ones for a role which the user leaves open.
    """

    name: str
    title: str
    splits: Mapping[str, Examples]
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    defaults: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """A data set, ready for training.

    Attributes:
      name: the name it is asked for by, such as "cifar10".
      title: what a person reads in a figure's title, such as "CIFAR-10".
      splits: "train", and where there are any "validation" and "test".
      class_names: one name a class, in the order of the labels; empty for a regression.
      image_shape: (height, width, channels) of every image; the shape of one float input.
      mean, std: per channel, of images in [0, 1]; of the train split, or ImageNet's for streams.
      augment: the augmentations that make sense for these images, in the order they are applied.
      mix: an augmentation of a whole batch that mixes pairs of images and their labels.
      stand_in: True where "auto" had to take this in place of the lecture's own data set.
      notes: what the user should be told at the start of a run.
    """

    name: str
    title: str
    splits: Mapping[str, Split]
    class_names: tuple[str, ...]
    image_shape: tuple[int, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    augment: tuple[Augment, ...] = ()
    mix: Mix | None = None
    stand_in: bool = False
    notes: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def spec(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """Shape and dtype of each entry of an example."""
        image, label = self.splits["train"][0]
        label = np.asarray(label, np.int32) if isinstance(label, int) else label
        return {
            name: jax.ShapeDtypeStruct(array.shape, array.dtype)
            for name, array in (("image", image), ("label", label))
        }


def channel_statistics(
    images: UInt8[np.ndarray, "examples height width channels"],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of every channel, of images scaled to [0, 1].

    The sums are taken in integers, so that they are exact and depend on no order. A channel
    without any variation gets the deviation 1, so that one can divide by it.
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
