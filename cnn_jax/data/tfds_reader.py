"""Reads prepared TFDS directories (array_record) with random access and without TensorFlow."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from numpy import ndarray

from cnn_jax.data.dataset import DataError
from cnn_jax.data.decode import decode_image


@dataclass(frozen=True)
class Prepared:
    """An opened TFDS directory of a classification data set.

    `image_shape` holds None where images differ in size.
    """

    name: str
    builder: Any
    image_key: str
    label_key: str
    image_shape: tuple[int | None, int | None, int]
    class_names: tuple[str, ...]
    sizes: dict[str, int]

    def examples(self, split: str, image_size: int = 0) -> "TfdsExamples":
        import tensorflow_datasets as tfds

        source = self.builder.as_data_source(
            split=split, decoders={self.image_key: tfds.decode.SkipDecoding()}
        )
        return TfdsExamples(
            f"{self.name} {split}",
            source,
            self.image_key,
            self.label_key,
            self.image_shape[2],
            image_size,
        )


@dataclass(frozen=True)
class TfdsExamples:
    """Random access to the examples of one stored split; images are decoded by Pillow."""

    title: str
    source: Any
    image_key: str
    label_key: str
    channels: int
    image_size: int

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[UInt8[ndarray, "height width channels"], int]:
        return self.__getitems__([index])[0]

    def __getitems__(
        self, indices: Sequence[int]
    ) -> list[tuple[UInt8[ndarray, "height width channels"], int]]:
        records = self.source.__getitems__(list(indices))
        examples = []
        for index, record in zip(indices, records, strict=True):
            try:
                image = decode_image(record[self.image_key], self.channels, self.image_size)
            except (OSError, ValueError, SyntaxError) as error:
                raise DataError(
                    f"the image of example {index} of {self.title} cannot be decoded: {error}"
                ) from error
            examples.append((image, int(record[self.label_key])))
        return examples


def tfds_directory(directory: str) -> Path:
    """Where TFDS data sets lie: `directory`, else $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    chosen = directory or os.environ.get("TFDS_DATA_DIR", "") or "~/tensorflow_datasets"
    return Path(chosen).expanduser()


def prepared_names(directory: Path) -> list[str]:
    """The names of all prepared data sets under a TFDS directory, configs as "name/config"."""
    found = {
        str(info.parent.parent.relative_to(directory))
        for pattern in ("*/*/dataset_info.json", "*/*/*/dataset_info.json")
        for info in directory.glob(pattern)
        if _VERSION.fullmatch(info.parent.name)
    }
    return sorted(found)


_VERSION = re.compile(r"\d+\.\d+\.\d+")


def find_prepared(name: str, directory: Path) -> Path | None:
    """The newest prepared version of "name", "name/config" or "name:1.0.0"; None where none is."""
    name, _, version = name.partition(":")
    versions = [
        info.parent
        for info in (directory / name).glob("*/dataset_info.json")
        if _VERSION.fullmatch(info.parent.name) and version in ("", info.parent.name)
    ]
    if not versions:
        return None
    return max(versions, key=lambda path: tuple(int(part) for part in path.name.split(".")))


def open_prepared(name: str, path: Path) -> Prepared:
    """Opens a prepared directory and finds out which feature is the image and which the label."""
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise DataError(
            f"reading {name} needs the package tensorflow-datasets, which is not installed:"
            " pip install tensorflow-datasets"
        ) from error

    builder = tfds.builder_from_directory(path)
    features = builder.info.features
    images = [key for key, one in features.items() if isinstance(one, tfds.features.Image)]
    labels = [key for key, one in features.items() if isinstance(one, tfds.features.ClassLabel)]
    supervised = builder.info.supervised_keys or (None, None)
    image_key = supervised[0] if supervised[0] in images else (images or [None])[0]
    label_key = supervised[1] if supervised[1] in labels else (labels or [None])[0]
    if image_key is None or label_key is None:
        missing = "image" if image_key is None else "class label"
        raise DataError(
            f"{name} has no {missing}, so it cannot be used for classification: its features are "
            + ", ".join(f"{key} ({type(one).__name__})" for key, one in features.items())
        )
    if features[image_key].np_dtype != "uint8":
        raise DataError(
            f"{name}: the images are of type {features[image_key].np_dtype}, expected uint8"
        )
    height, width, channels = features[image_key].shape
    return Prepared(
        name=name,
        builder=builder,
        image_key=image_key,
        label_key=label_key,
        image_shape=(height, width, channels or 3),
        class_names=tuple(features[label_key].names),
        sizes={split: info.num_examples for split, info in builder.info.splits.items()},
    )
