"""Random access to the records of a prepared TFDS split. Pillow decodes the images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Int32

from cnn_jax.data.augment import IGNORED
from cnn_jax.data.decode import check_shape, decode_image
from cnn_jax.data.errors import DataError, SourceError
from cnn_jax.data.examples import Crop, HostExample, Spec, image_and_label

RECORDS = 1024
"""Records that are read at once for their labels."""
MOST_REASON = 200
"""Characters of a reason in a message."""


def broken(path: Path, error: Exception) -> SourceError:
    """The error of a directory that cannot be read."""
    reason = next(iter(str(error).splitlines()), "")[:MOST_REASON]
    return SourceError(
        f"the TFDS directory {path} cannot be read ({type(error).__name__}: {reason}): remove it,"
        " and prepare the data set again"
    )


@dataclass(frozen=True)
class TfdsRecords:
    """The records of a split, with an image and what is to be predicted of it.

    Attributes:
        title: names the split in messages.
        path: of the directory.
        source: TFDS's data source, which decodes no image.
        image_key, target_key: the features.
        num_classes: number of classes.
        image_shape: of every image, after the crop.
        crop: applied to every image; None for none.
    """

    title: str
    path: Path
    source: Any
    image_key: str
    target_key: str
    num_classes: int
    image_shape: tuple[int, int, int]
    crop: Crop | None

    def __len__(self) -> int:
        return len(self.source)

    def records(self, indices: Sequence[int]) -> list[Any]:
        try:
            records = self.source.__getitems__(list(indices))
            keys = self.image_key, self.target_key
            if any(one[key] is None for one in records for key in keys):
                raise ValueError(f"a record has no {' or no '.join(keys)}")
            return records
        except Exception as error:  # array_record and protobuf raise many kinds of exceptions
            raise broken(self.path, error) from error

    def decode(self, what: str, encoded: bytes, channels: int, crop: Crop | None) -> np.ndarray:
        """An image of the record `what`, of the data set's size."""
        try:
            image = decode_image(encoded, channels, crop, name=what)
        except ValueError as error:
            raise DataError(f"{what} cannot be decoded: {error}") from error
        check_shape(what, image.shape, (*self.image_shape[:2], channels))
        return image


class TfdsLabels(TfdsRecords):
    """Images with one class each."""

    @property
    def spec(self) -> Spec:
        return image_and_label(self.image_shape)

    def class_of_each(self) -> Int32[np.ndarray, "examples"]:
        """The labels. Reads all records, about 10,000 in a second, but decodes no image."""
        labels = np.empty(len(self), np.int32)
        for start in range(0, len(self), RECORDS):
            places = range(start, min(start + RECORDS, len(self)))
            for place, record in zip(places, self.records(places), strict=True):
                labels[place] = record[self.target_key]
        return labels

    def __getitem__(self, index: int) -> HostExample:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[HostExample]:
        return self._decode_all(indices, [self.crop] * len(indices))

    def cropped(self, indices: Sequence[int], crops: Sequence[Crop]) -> list[HostExample]:
        """The examples, each with its own crop instead of `self.crop`."""
        return self._decode_all(indices, crops)

    def _decode_all(
        self, indices: Sequence[int], crops: Sequence[Crop | None]
    ) -> list[HostExample]:
        records = self.records(indices)
        return [self._example(*parts) for parts in zip(indices, records, crops, strict=True)]

    def _example(self, index: int, record: Any, crop: Crop | None) -> HostExample:
        what = f"example {index} of {self.title}"
        label = int(record[self.target_key])
        if not 0 <= label < self.num_classes:
            raise DataError(
                f"{what} has the label {label}, outside the {self.num_classes} classes"
                f" 0..{self.num_classes - 1}"
            )
        channels = self.image_shape[2]
        image = self.decode(f"the image of {what}", record[self.image_key], channels, crop)
        return {"image": image, "label": np.int32(label)}


@dataclass(frozen=True)
class TfdsMasks(TfdsRecords):
    """Images with a class for every pixel.

    Attributes:
        mask_crop: applied to every mask, to its nearest pixels; None for none.
        unlabelled: value of pixels without a class, besides `IGNORED`.
    """

    mask_crop: Crop | None
    unlabelled: int | None

    @property
    def spec(self) -> Spec:
        return {
            "image": jax.ShapeDtypeStruct(self.image_shape, np.uint8),
            "mask": jax.ShapeDtypeStruct(self.image_shape[:2], np.uint8),
        }

    def __getitem__(self, index: int) -> HostExample:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[HostExample]:
        return [self._example(*one) for one in zip(indices, self.records(indices), strict=True)]

    def _example(self, index: int, record: Any) -> HostExample:
        what = f"example {index} of {self.title}"
        channels = self.image_shape[2]
        image = self.decode(f"the image of {what}", record[self.image_key], channels, self.crop)
        mask = self.mask(index, record)
        wrong = (mask >= self.num_classes) & (mask != IGNORED)
        if wrong.any():
            raise DataError(
                f"the mask of {what} has the class {mask[wrong][0]}, expected 0 to"
                f" {self.num_classes - 1}, or {IGNORED} for none"
            )
        return {"image": image, "mask": mask}

    def mask(self, index: int, record: Any) -> np.ndarray:
        """The class of every pixel of a record, `IGNORED` for none."""
        what = f"the mask of example {index} of {self.title}"
        mask = self.decode(what, record[self.target_key], 1, self.mask_crop)[..., 0]
        if self.unlabelled is None:
            return mask
        return np.where(mask == self.unlabelled, np.uint8(IGNORED), mask)

    def largest_class(self) -> int:
        """The largest class of any pixel. Decodes all masks."""
        largest = -1
        for index in range(len(self)):
            mask = self.mask(index, self.records([index])[0])
            largest = max([largest, *mask[mask != IGNORED].tolist()])
        return largest
