"""Reads a data set of one NumPy file: decoded images and labels, with nothing else installed."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from cnn_jax.data.dataset import ArraySplit, DataError, Stored
from cnn_jax.data.folders import SPLIT_NAMES
from cnn_jax.data.names import TITLES

SUFFIX = ".npz"
LAYOUT = "train_images [examples, height, width, channels] of bytes and train_labels [examples]"


def open_array_file(name: str) -> Stored:
    """Opens a file of `numpy.savez` with the arrays `train_images`, `train_labels`, `test_images`….

    The splits are those of which there are images and labels; `class_names`, where it is there,
    holds a name a class. The data set is called as the file: cifar10.npz is cifar10.
    """
    path = Path(name).expanduser()
    if not path.is_file():
        raise DataError(f"there is no file {path}: expected one with {LAYOUT}")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} cannot be read as a file of numpy.savez: {error}") from None
    found = [one for one in SPLIT_NAMES if {f"{one}_images", f"{one}_labels"} <= arrays.keys()]
    if "train" not in found:
        there = ", ".join(arrays) or "nothing"
        raise DataError(f"{path} has no train split: expected {LAYOUT}, found {there}")
    splits = {}
    for one in found:
        images, labels = arrays[f"{one}_images"], arrays[f"{one}_labels"]
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != _shape(arrays):
            raise DataError(
                f"{path}: {one}_images are {images.dtype} of shape {images.shape}, expected uint8"
                " [examples, height, width, channels] of one size in all splits"
            )
        if not np.issubdtype(labels.dtype, np.integer) or labels.ndim != 1:
            raise DataError(
                f"{path}: {one}_labels are {labels.dtype} of shape {labels.shape}, expected"
                " integers [examples]"
            )
        splits[one] = ArraySplit(images, labels.astype(np.int32))
    every = np.concatenate([split.labels for split in splits.values()])
    count = int(every.max(initial=-1)) + 1
    class_names = tuple(map(str, arrays.get("class_names", np.arange(count))))
    if every.min(initial=0) < 0 or count > len(class_names):
        raise DataError(
            f"{path}: labels from {every.min()} to {every.max()}, expected 0 to"
            f" {len(class_names) - 1}"
        )
    title = TITLES.get(path.stem, path.stem)
    return Stored(path.stem, title, splits, class_names, _shape(arrays))


def _shape(arrays: dict[str, np.ndarray]) -> tuple[int, int, int]:
    _, height, width, channels = (*arrays["train_images"].shape, 0, 0, 0, 0)[:4]
    return height, width, channels
