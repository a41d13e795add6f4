"""Reads folders of images: train|val/<class>/*.jpg, the layout of ImageNet and many others."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from cnn_jax.data.dataset import Stored
from cnn_jax.data.decode import centre_square, check_shape, decode_image
from cnn_jax.data.errors import LISTED, DataError, some_of
from cnn_jax.data.examples import Crop, HostExample, Spec, image_and_label
from cnn_jax.data.names import SPLIT_NAMES
from cnn_jax.data.order import epoch_order

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
LAYOUT = "train|val|test/<class>/*.jpg|png"
Files = dict[str, list[tuple[Path, int]]]
"""The image files of each split, with their labels."""


def is_folder_name(name: str) -> bool:
    """Whether a data set's name is a path rather than the name of a TFDS data set.

    A path starts with ".", "/" or "~", or contains a "/" and exists. "emnist/letters" is the TFDS
    notation for a configuration.
    """
    return name.startswith((".", "/", "~")) or ("/" in name and Path(name).is_dir())


def open_folder(
    name: str, image_size: int = 0, resize: int = 0, *, skip_unreadable: bool = False
) -> Stored:
    """Opens a folder. The classes are the sorted names of the folders in train.

    Images are converted to RGB. With `image_size` the shorter side is resized to it (or to
    `resize`) and the central square is kept. Otherwise all images must have the size of the first.
    Files are put into a fixed random order, so that "train[:90%]" holds all classes. With
    `skip_unreadable` all files are decoded once; those that cannot be read are left out and listed
    in a note.
    """
    root = Path(name).expanduser()
    if not root.is_dir():
        raise DataError(f"there is no folder {root}: expected one with {LAYOUT}")
    found = [split for split in SPLIT_NAMES if (root / split).is_dir()]
    if "train" not in found:
        raise DataError(
            f"the folder {root} has no folder 'train': expected {LAYOUT}, found"
            f" {', '.join(sorted(path.name for path in root.iterdir())[:10]) or 'nothing'}"
        )
    class_names = _class_names(root / "train")
    files = {split: _files(root / split, class_names) for split in found}
    notes: tuple[str, ...] = ()
    if skip_unreadable:
        files, notes = _readable(files)
    shape = (image_size, image_size, 3)
    if image_size == 0:
        shape = _decode_file(min(path for path, _ in files["train"]), None).shape
    crop = centre_square(image_size, resize) if image_size else None
    splits = {
        split: FolderExamples([path for path, _ in pairs], labels, shape, crop)
        for split, pairs in files.items()
        if (labels := np.array([label for _, label in pairs], np.int32)).size
    }
    title = root.resolve().name
    return Stored(str(root), title, splits, class_names, notes=notes)


def _readable(files: Files) -> tuple[Files, tuple[str, ...]]:
    """The files that can be read, and a note that lists the others."""
    with ThreadPoolExecutor() as pool:
        errors = {
            path: error
            for pairs in files.values()
            for (path, _), error in zip(pairs, pool.map(_error, pairs), strict=True)
            if error
        }
    kept = {split: [one for one in pairs if one[0] not in errors] for split, pairs in files.items()}
    without = {label for _, label in files["train"]} - {label for _, label in kept["train"]}
    if without:
        folders = sorted({path.parent for path, label in files["train"] if label in without})
        raise DataError(f"no file can be read in {', '.join(map(str, folders[:LISTED]))}")
    if not errors:
        return kept, ()
    return kept, (f"{len(errors):,} files are left out:\n  {some_of(list(errors.values()))}",)


def _error(pair: tuple[Path, int]) -> str:
    try:
        _decode_file(pair[0], None)
    except DataError as error:
        return str(error)
    return ""


def _class_names(folder: Path) -> tuple[str, ...]:
    names = sorted(
        path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    if not names:
        raise DataError(f"{folder} has no folders, expected one for each class")
    return tuple(names)


def _files(folder: Path, class_names: Sequence[str]) -> list[tuple[Path, int]]:
    unknown = sorted(set(_class_names(folder)) - set(class_names))
    if unknown:
        raise DataError(
            f"{folder} has the classes {', '.join(unknown[:10])}, which are not in train"
        )
    pairs: list[tuple[Path, int]] = []
    for label, name in enumerate(class_names):
        if not (folder / name).is_dir():
            continue
        images = sorted(
            path
            for path in (folder / name).iterdir()
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
        )
        if not images and folder.name == "train":
            raise DataError(
                f"the class folder {folder / name} holds no images ({', '.join(sorted(SUFFIXES))})"
            )
        pairs.extend((path, label) for path in images)
    return [pairs[index] for index in epoch_order(0, 0, len(pairs))]


def _decode_file(path: Path, crop: Crop | None) -> UInt8[np.ndarray, "height width 3"]:
    try:
        return decode_image(path.read_bytes(), 3, crop)
    except (OSError, ValueError) as error:
        raise DataError(f"the image file {path} cannot be read: {error}") from error


@dataclass(frozen=True)
class FolderExamples:
    """Random access to image files."""

    paths: list[Path]
    labels: np.ndarray
    image_shape: tuple[int, int, int]
    crop: Crop | None

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def spec(self) -> Spec:
        return image_and_label(self.image_shape)

    def __getitem__(self, index: int) -> HostExample:
        return self._decode(index, self.crop)

    def __getitems__(self, indices: Sequence[int]) -> list[HostExample]:
        return [self[index] for index in indices]

    def cropped(self, indices: Sequence[int], crops: Sequence[Crop]) -> list[HostExample]:
        """The examples, each with its own crop instead of `self.crop`."""
        return [self._decode(*pair) for pair in zip(indices, crops, strict=True)]

    def _decode(self, index: int, crop: Crop | None) -> HostExample:
        path = self.paths[index]
        image = _decode_file(path, crop)
        check_shape(f"the image file {path}", image.shape, self.image_shape)
        return {"image": image, "label": self.labels[index]}
