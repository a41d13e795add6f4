"""Reads folders of images: train|val/<class>/*.jpg, the layout of ImageNet and many others."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from cnn_jax.data.dataset import Stored
from cnn_jax.data.decode import centre_square, check_shape
from cnn_jax.data.errors import LISTED, DataError
from cnn_jax.data.examples import Crop, HostExample, Spec, image_and_label
from cnn_jax.data.image_files import SUFFIXES, images_below, listed_suffixes, not_read
from cnn_jax.data.names import SPLIT_NAMES, way_without
from cnn_jax.data.order import epoch_order
from cnn_jax.data.unreadable import decode_file, first_image

LAYOUT = "train|val|test/<class>/*.jpg|png, or <class>/*.jpg|png to be split"
Files = dict[str, list[tuple[Path, int]]]
"""The image files of each split, with their labels."""


def is_folder_name(name: str) -> bool:
    """Whether a data set's name is a path rather than the name of a TFDS data set.

    A path starts with ".", "/" or "~", or contains a "/" and exists. "emnist/letters" is the TFDS
    notation for a configuration.
    """
    return name.startswith((".", "/", "~")) or ("/" in name and Path(name).is_dir())


def open_folder(
    name: str,
    image_size: int = 0,
    resize: int = 0,
    *,
    skip_unreadable: bool = False,
    labelled: bool = True,
) -> Stored:
    """Opens a folder of images, `train|val|test/<class>/` or `<class>/`, at any depth below.

    The classes are the sorted names of the folders in train, or in the first split that there is.
    A folder of classes without splits is one split "train". Splits that cannot be used, such as a
    test split without classes, are errors only if they are used. Unless `labelled`, all images
    below a folder, of classes or not, are those of one class "image".

    Images are converted to RGB. With `image_size` the shorter side is resized to it (or to
    `resize`) and the central square is kept. Otherwise all images must have the size of the first.
    Files are put into a fixed random order, so that "train[:90%]" holds all classes. A note tells
    of files in class folders that are not read. With `skip_unreadable` the first image that can be
    read gives the size, and `prepare` or a stream leaves the others out.
    """
    root = Path(name).expanduser()
    if not root.is_dir():
        raise DataError(f"there is no folder {root}: expected one with {LAYOUT}")
    folders = _splits(root, labelled)
    # The first split that has classes decides; the others can have some of them.
    class_names = next(filter(None, map(_folders_in, folders.values())), ())
    if not labelled:
        class_names = ("image",)
    if not class_names:
        raise DataError(f"{root} has no folders, one for each class: expected {LAYOUT}")
    files: Files = {}
    unusable: dict[str, str] = {}
    others: list[Path] = []
    for split, folder in folders.items():
        try:
            files[split], left_out = _files(folder, class_names, split, labelled)
            others.extend(left_out)
        except DataError as error:
            unusable[split] = f"{error}{way_without(split)}"
    notes = not_read(others, "class folders")
    if not files:
        raise DataError(next(iter(unusable.values())))
    shape = (image_size, image_size, 3)
    if image_size == 0:
        paths = sorted(path for path, _ in next(iter(files.values())))
        shape = first_image(paths, skip_unreadable=skip_unreadable).shape
    crop = centre_square(image_size, resize) if image_size else None
    splits = {
        split: FolderExamples(
            [path for path, _ in pairs], np.array([y for _, y in pairs], np.int32), shape, crop
        )
        for split, pairs in files.items()
    }
    title = root.resolve().name
    return Stored(str(root), title, splits, class_names, unusable=unusable, notes=notes)


def _splits(root: Path, labelled: bool) -> dict[str, Path]:
    """The folder of each split; the root itself if its folders are classes.

    A folder such as "test" is a split if it holds folders, or if it lies beside one that does.
    """
    found = {name: root / name for name in SPLIT_NAMES if (root / name).is_dir()}
    if any(map(_folders_in, found.values())) or ("train" in found and not labelled):
        return found
    if not labelled:
        return {"train": root}
    match _folders_in(root):
        case (only,) if _folders_in(root / only) and not _images_in(root / only):
            raise DataError(f"{root} has the folder {only!r} alone: give the path {root / only}")
    return {"train": root}


def _folders_in(folder: Path) -> tuple[str, ...]:
    return tuple(
        sorted(
            path.name
            for path in folder.iterdir()
            if path.is_dir() and not path.name.startswith(".")
        )
    )


def _images_in(folder: Path) -> list[Path]:
    """The images that lie in a folder itself."""
    return [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES]


def _files(
    folder: Path, class_names: Sequence[str], split: str, labelled: bool
) -> tuple[list[tuple[Path, int]], list[Path]]:
    """The images of a split, with their labels, and other files in its folders.

    Raises:
        DataError: there are no images, no classes or other classes.
    """
    if not labelled:
        images, others = images_below(folder)
        if not images:
            raise DataError(f"{folder} holds no images{_found(others)}")
        return [(images[index], 0) for index in epoch_order(0, 0, len(images))], others
    there = _folders_in(folder)
    beside = _images_in(folder)
    if not there and beside:
        raise DataError(f"{folder} has {len(beside):,} images without a folder of their class")
    unknown = [name for name in there if name not in class_names]
    if unknown:
        raise DataError(
            f"{folder} has the classes {', '.join(unknown[:LISTED])}, which are not among those of"
            f" the first split: {', '.join(class_names[:LISTED])}"
        )
    pairs: list[tuple[Path, int]] = []
    others = [path for path in beside if not path.name.startswith(".")]
    for label, name in enumerate(class_names):
        if name not in there:
            continue
        images, rest = images_below(folder / name)
        if not images and split == "train":
            raise DataError(f"the class folder {folder / name} holds no images{_found(rest)}")
        pairs.extend((path, label) for path in images)
        others.extend(rest)
    if not pairs:
        raise DataError(f"{folder} holds no images{_found(others)}")
    return [pairs[index] for index in epoch_order(0, 0, len(pairs))], others


def _found(others: Sequence[Path]) -> str:
    there = f", only {others[0].name}" if others else ""
    return f"{there}: expected files with the suffixes {listed_suffixes()}"


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

    def class_of_each(self) -> Int32[np.ndarray, "examples"]:
        return self.labels

    def __getitem__(self, index: int) -> HostExample:
        return self._decode(index, self.crop)

    def __getitems__(self, indices: Sequence[int]) -> list[HostExample]:
        return [self[index] for index in indices]

    def check(self, index: int) -> None:
        """Raises UnreadableImage if the file of an example cannot be read."""
        decode_file(self.paths[index])

    def rows(self, places: Sequence[int]) -> "FolderExamples":
        """The examples at `places`, in that order."""
        return replace(
            self, paths=[self.paths[i] for i in places], labels=self.labels[list(places)]
        )

    def cropped(self, indices: Sequence[int], crops: Sequence[Crop]) -> list[HostExample]:
        """The examples, each with its own crop instead of `self.crop`."""
        return [self._decode(*pair) for pair in zip(indices, crops, strict=True)]

    def _decode(self, index: int, crop: Crop | None) -> HostExample:
        path = self.paths[index]
        image = decode_file(path, crop)
        check_shape(f"the image file {path}", image.shape, self.image_shape)
        return {"image": image, "label": self.labels[index]}
