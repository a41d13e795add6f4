"""Reads a data set from one NumPy file. No other package is needed."""

import zipfile
from pathlib import Path

import numpy as np

from cnn_jax.data.dataset import Stored
from cnn_jax.data.errors import DataError
from cnn_jax.data.names import MOST_CLASSES, SPLIT_NAMES, TITLES
from cnn_jax.data.numpy_arrays import store_arrays

SUFFIX = ".npz"
MOST_BYTES = 1 << 34
"""The largest size of all arrays of a file, decompressed: 16 GiB."""
LAYOUT = (
    "train_images [examples, height, width, channels] of bytes and train_labels [examples], or"
    " other entries of an example such as train_masks and train_boxes"
)
ENTRIES = {"images": "image", "labels": "label", "masks": "mask"}
"""Arrays whose entry has another name; `train_boxes` is `boxes`, and so on."""


def open_array_file(name: str) -> Stored:
    """Opens a file of `numpy.savez` with arrays such as `train_images` and `train_labels`.

    `<split>_images`, `<split>_labels` and `<split>_masks` become the entries `image`, `label` and
    `mask`, any other `<split>_<name>` the entry `<name>`, for splits such as `train`, `val` and
    `test`. The arrays
    are those of `from_arrays`, and so are the files of MedMNIST. `class_names` holds one name per
    class; by default the labels are numbered. The name of the data set is that of the file:
    cifar10.npz is cifar10.

    Raises:
        DataError: the file cannot be read or has no images; arrays that `from_arrays` refuses.
    """
    path = Path(name).expanduser()
    if not path.is_file():
        raise DataError(f"there is no file {path}: expected one with {LAYOUT}")
    try:
        arrays = _read(path)
    except Exception as error:  # NumPy, zipfile and zlib raise many kinds of exceptions
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{path} cannot be read as a file of numpy.savez: {reason}") from None
    splits = {
        split: {
            ENTRIES.get(entry, entry): array
            for name, array in arrays.items()
            for prefix, _, entry in [name.partition("_")]
            if prefix == split
        }
        for split in SPLIT_NAMES
        if f"{split}_images" in arrays
    }
    if not splits:
        there = ", ".join(arrays) or "nothing"
        raise DataError(f"{path} has no images: expected {LAYOUT}, found {there}")
    names = arrays.get("class_names", np.zeros(0))
    if names.ndim != 1 or len(names) > MOST_CLASSES:
        raise DataError(
            f"{path}: class_names has the shape {names.shape}, expected [classes], at most"
            f" {MOST_CLASSES:,}"
        )
    try:
        return store_arrays(
            splits, names.tolist(), name=path.stem, title=TITLES.get(path.stem, path.stem)
        )
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _read(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as file:
        size = sum(member.file_size for member in file.infolist())
    if size > MOST_BYTES:
        raise ValueError(f"its arrays have {size:,} bytes, and the limit is {MOST_BYTES:,}")
    with np.load(path, allow_pickle=False) as file:
        return dict(file)
