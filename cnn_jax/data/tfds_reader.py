"""Reads prepared TFDS directories (array_record) with random access and without TensorFlow."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32

from cnn_jax.data.dataset import Stored
from cnn_jax.data.decode import MODES, MOST_PIXELS, centre_square, check_shape, decode_image
from cnn_jax.data.errors import DataError, SourceError
from cnn_jax.data.examples import Crop, HostExample, Spec, image_and_label
from cnn_jax.data.names import CLASS_NAMES, MOST_CLASSES, TITLES
from cnn_jax.extras import extra

CIFAR10_45K_5K = {"train": 45_000, "test": 5_000}
"""Copies of CIFAR-10 with these splits: He et al. 2015, section 4.2, validates on 5k of train."""
RECORDS = 1024
"""Records that are read at once for their labels."""
MOST_REASON = 200
"""Characters of a reason in a message."""
OWN_FEATURES = "tensorflow_datasets.core.features."
_VERSION = re.compile(r"\d+\.\d+\.\d+")


def tfds_directory(directory: str) -> Path:
    """The TFDS directory: `directory`, else $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    chosen = directory or os.environ.get("TFDS_DATA_DIR", "") or "~/tensorflow_datasets"
    return Path(chosen).expanduser()


def prepared_names(directory: Path) -> list[str]:
    """The names of all prepared data sets under a TFDS directory, configs as "name/config"."""
    found = {
        info.parent.parent.relative_to(directory).as_posix()
        for pattern in ("*/*/dataset_info.json", "*/*/*/dataset_info.json")
        for info in directory.glob(pattern)
        if _VERSION.fullmatch(info.parent.name)
    }
    return sorted(found)


def find_prepared(name: str, directory: Path) -> Path | None:
    """The newest prepared version of "name", "name/config" or "name:1.0.0", or None."""
    name, _, version = name.partition(":")
    versions = [
        info.parent
        for info in (directory / name).glob("*/dataset_info.json")
        if _VERSION.fullmatch(info.parent.name) and version in ("", info.parent.name)
    ]
    if not versions:
        return None
    return max(versions, key=lambda path: tuple(int(part) for part in path.name.split(".")))


def open_tfds(name: str, path: Path, image_size: int = 0, resize: int = 0) -> Stored:
    """Opens a prepared directory. Image and label are found by the features' types.

    With `image_size`, images of any size become squares: the shorter side is resized to
    `image_size` (or to `resize`) and the centre is kept.

    Raises:
        DataError: the directory is broken, or names features that are not TFDS's own; the data set
            has no images of bytes or no class label.
    """
    tfds = import_tfds(name)
    try:
        _check_files(path)
        _check_features(path)
        return _open(tfds, name.partition(":")[0], path, image_size, resize)
    except DataError:
        raise
    except Exception as error:  # TFDS, protobuf and array_record raise many kinds of exceptions
        raise _broken(path, error) from error


def _broken(path: Path, error: Exception) -> SourceError:
    reason = next(iter(str(error).splitlines()), "")[:MOST_REASON]
    return SourceError(
        f"the TFDS directory {path} cannot be read ({type(error).__name__}: {reason}): remove it,"
        " and prepare the data set again"
    )


def _check_files(path: Path) -> None:
    """Raises ValueError if dataset_info.json claims more than the directory's files can hold.

    TFDS and NumPy would take hours or all memory for it. A pipe or a device would never end.
    """
    files = [file for file in path.iterdir() if not file.is_dir()]
    if others := [file.name for file in files if not file.is_file()]:
        raise ValueError(f"{others[0]} is not a regular file")
    size = sum(file.stat().st_size for file in files)
    for split in json.loads((path / "dataset_info.json").read_text("utf-8"))["splits"]:
        examples = [int(length) for length in split.get("shardLengths", ())]
        if len(examples) > len(files) or sum(examples) > size:
            raise ValueError(
                f"dataset_info.json claims {sum(examples):,} examples of {split['name']} in"
                f" {len(examples):,} files, and there are {size:,} bytes in {len(files):,} files"
            )


def _check_features(path: Path) -> None:
    """Raises DataError if features.json names foreign classes, whose modules TFDS would import."""
    for name in _class_names(json.loads((path / "features.json").read_text("utf-8"))):
        if not name.startswith(OWN_FEATURES):
            raise DataError(
                f"{path / 'features.json'} names the class {name!r}, which is not one of TFDS's own"
                f" features ({OWN_FEATURES}…): its code is not run"
            )


def _class_names(value: Any) -> Iterator[str]:
    """All classes that a features.json names, also in the JSON that its strings hold."""
    if isinstance(value, list):
        for one in value:
            yield from _class_names(one)
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        yield from _class_names(json.loads(value))
    if isinstance(value, dict):
        for key, one in value.items():
            if key in ("pythonClassName", "python_class_name", "type") and isinstance(one, str):
                yield one
            yield from _class_names(one)


def _open(tfds: Any, name: str, path: Path, image_size: int, resize: int) -> Stored:
    builder = tfds.builder_from_directory(path)
    features = builder.info.features
    image_key, label_key = _image_and_label(name, tfds, builder.info)
    height, width, channels = features[image_key].shape
    if (height, width) == (image_size, image_size):
        image_size = 0
    if image_size:
        height = width = image_size
    if height is None or width is None:
        raise DataError(f"the images of {name} differ in size: set one size with --data.image-size")
    shape = (height, width, channels or 3)
    if shape[2] not in MODES or height * width > MOST_PIXELS:
        raise DataError(
            f"the images of {name} have the shape {shape}, expected 1, 3 or 4 channels and at most"
            f" {MOST_PIXELS:,} pixels"
        )
    labels = features[label_key]
    # Without a file of names, TFDS makes a name for each class.
    if labels.num_classes > MOST_CLASSES or len(labels.names) > MOST_CLASSES:
        raise DataError(f"{name} has more than {MOST_CLASSES:,} classes, which is the limit")

    sizes = {split: info.num_examples for split, info in builder.info.splits.items()}
    class_names = tuple(labels.names)
    if class_names == tuple(str(number) for number in range(len(class_names))):
        class_names = CLASS_NAMES.get(name, class_names)
    title = TITLES.get(name, name)
    defaults: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    if name == "cifar10" and sizes == CIFAR10_45K_5K:
        title = f"{title} 45k/5k"
        defaults = {"validation": "test", "test": "none"}
        notes = (
            "this copy of CIFAR-10 holds the 50,000 official training images only: its 'test' is"
            " the 45k/5k validation set, and the official test images are missing",
        )
    skip = {image_key: tfds.decode.SkipDecoding()}
    splits = {
        split: TfdsExamples(
            f"{name} {split}",
            path,
            builder.as_data_source(split=split, decoders=skip),
            image_key,
            label_key,
            len(class_names),
            shape,
            centre_square(image_size, resize) if image_size else None,
        )
        for split, size in sizes.items()
        if size
    }
    return Stored(name, title, splits, class_names, defaults, notes=notes)


def import_tfds(name: str) -> Any:
    """The module tensorflow_datasets, imported only when needed because it takes a second."""
    with extra("data", f"the data set {name}"):
        import array_record  # noqa: F401 (which TFDS imports when it reads)
        import tensorflow_datasets as tfds
    return tfds


def _image_and_label(name: str, tfds: Any, info: Any) -> tuple[str, str]:
    # Sorted, because a stored data set does not fix the order of its features.
    features = dict(sorted(info.features.items()))
    images = [key for key, one in features.items() if isinstance(one, tfds.features.Image)]
    labels = [key for key, one in features.items() if isinstance(one, tfds.features.ClassLabel)]
    supervised = info.supervised_keys or (None, None)
    image_key = _first_of(images, supervised[0], "image")
    label_key = _first_of(labels, supervised[1], "label")
    if image_key is None or label_key is None:
        missing = "image" if image_key is None else "class label"
        raise DataError(
            f"{name} has no {missing}, so it cannot be used for classification: its features are "
            + ", ".join(f"{key} ({type(one).__name__})" for key, one in features.items())
        )
    if features[image_key].np_dtype != "uint8":
        raise DataError(
            f"the images of {name} are of type {features[image_key].np_dtype}, expected uint8"
        )
    return image_key, label_key


def _first_of(keys: Sequence[str], *preferred: str | None) -> str | None:
    return next((key for key in (*preferred, *keys) if key in keys), None)


@dataclass(frozen=True)
class TfdsExamples:
    """Random access to the examples of one stored split. Pillow decodes the images."""

    title: str
    path: Path
    source: Any
    image_key: str
    label_key: str
    num_classes: int
    image_shape: tuple[int, int, int]
    crop: Crop | None

    def __len__(self) -> int:
        return len(self.source)

    @property
    def spec(self) -> Spec:
        return image_and_label(self.image_shape)

    def class_of_each(self) -> Int32[np.ndarray, "examples"]:
        """The labels. Reads all records, about 10,000 in a second, but decodes no image."""
        labels = np.empty(len(self), np.int32)
        for start in range(0, len(self), RECORDS):
            places = range(start, min(start + RECORDS, len(self)))
            for place, record in zip(places, self._records(places), strict=True):
                labels[place] = record[self.label_key]
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
        records = self._records(indices)
        return [self._decode(*parts) for parts in zip(indices, records, crops, strict=True)]

    def _records(self, indices: Sequence[int]) -> list[Any]:
        try:
            records = self.source.__getitems__(list(indices))
            if any(one[key] is None for one in records for key in (self.image_key, self.label_key)):
                raise ValueError("a record has no image or no label")
            return records
        except Exception as error:  # array_record and protobuf raise many kinds of exceptions
            raise _broken(self.path, error) from error

    def _decode(self, index: int, record: Any, crop: Crop | None) -> HostExample:
        what = f"example {index} of {self.title}"
        label = int(record[self.label_key])
        if not 0 <= label < self.num_classes:
            raise DataError(
                f"{what} has the label {label}, outside the {self.num_classes} classes"
                f" 0..{self.num_classes - 1}"
            )
        try:
            image = decode_image(
                record[self.image_key], self.image_shape[2], crop, name=f"the image of {what}"
            )
        except ValueError as error:
            raise DataError(f"the image of {what} cannot be decoded: {error}") from error
        check_shape(what, image.shape, self.image_shape)
        return {"image": image, "label": np.int32(label)}
