"""Reads a data set from one NumPy file. No other package is needed."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cnn_jax.data.augment import IGNORED
from cnn_jax.data.dataset import Stored
from cnn_jax.data.errors import DataError
from cnn_jax.data.folders import SPLIT_NAMES
from cnn_jax.data.names import TITLES
from cnn_jax.data.splits import ArraySplit

SUFFIX = ".npz"
LAYOUT = (
    "train_images [examples, height, width, channels] of bytes and train_labels [examples], or"
    " other entries of an example such as train_mask and train_boxes"
)
ENTRIES = {"images": "image", "labels": "label"}
"""Arrays whose entry has another name; `train_mask` is `mask`, and so on."""
NO_CLASS = {"label": None, "mask": IGNORED, "box_labels": -1}
"""Entries that hold classes, and the value that stands for no class."""


def open_array_file(name: str) -> Stored:
    """Opens a file of `numpy.savez` with arrays such as `train_images` and `train_labels`.

    `<split>_images` and `<split>_labels` become the entries `image` and `label`, any other
    `<split>_<name>` the entry `<name>`. A split needs images; all splits have the same entries.
    `class_names` holds one name per class; by default the labels are numbered. The name of the
    data set is that of the file: cifar10.npz is cifar10.

    Raises:
        DataError: the file cannot be read or has no images for training; entries differ between
            splits in name, shape or dtype; a class is out of range.
    """
    path = Path(name).expanduser()
    if not path.is_file():
        raise DataError(f"there is no file {path}: expected one with {LAYOUT}")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} cannot be read as a file of numpy.savez: {error}") from None
    found = [split for split in SPLIT_NAMES if f"{split}_images" in arrays]
    if "train" not in found:
        there = ", ".join(arrays) or "nothing"
        raise DataError(f"{path} has no train split: expected {LAYOUT}, found {there}")
    splits = {split: _split(path, split, arrays) for split in found}
    for split in found:
        if splits[split].spec != splits["train"].spec:
            raise DataError(
                f"{path}: {split} has {_described(splits[split])}, expected the same entries of"
                f" one size in all splits, and train has {_described(splits['train'])}"
            )
    labels = [split.arrays["label"] for split in splits.values() if "label" in split.arrays]
    count = max((int(array.max(initial=-1)) for array in labels), default=-1) + 1
    class_names = tuple(map(str, arrays.get("class_names", np.arange(count))))
    if class_names or labels:
        _check_classes(path, splits, len(class_names))
    return Stored(path.stem, TITLES.get(path.stem, path.stem), splits, class_names)


def _split(path: Path, split: str, arrays: Mapping[str, np.ndarray]) -> ArraySplit:
    prefix = f"{split}_"
    entries = {
        ENTRIES.get(name.removeprefix(prefix), name.removeprefix(prefix)): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
    image = entries["image"]
    if image.dtype != np.uint8 or image.ndim != 4:
        raise DataError(
            f"{path}: {split}_images are {image.dtype} of shape {image.shape}, expected uint8"
            " [examples, height, width, channels]"
        )
    label = entries.get("label")
    if label is not None:
        if not np.issubdtype(label.dtype, np.integer) or label.ndim != 1:
            raise DataError(
                f"{path}: {split}_labels are {label.dtype} of shape {label.shape}, expected"
                " integers [examples]"
            )
        entries["label"] = label.astype(np.int32)
    return ArraySplit(entries)


def _check_classes(path: Path, splits: Mapping[str, ArraySplit], count: int) -> None:
    for split, arrays in ((name, split.arrays) for name, split in splits.items()):
        for entry, no_class in NO_CLASS.items():
            if entry in arrays:
                classes = arrays[entry][arrays[entry] != no_class]
                low, high = classes.min(initial=0), classes.max(initial=0)
                if low < 0 or high >= count:
                    raise DataError(
                        f"{path}: {entry} of {split} from {low} to {high}, expected 0 to"
                        f" {count - 1}, one of class_names"
                    )


def _described(split: ArraySplit) -> str:
    return ", ".join(f"{name} {one.dtype} {one.shape}" for name, one in split.spec.items())
