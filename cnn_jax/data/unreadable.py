"""Files that cannot be read, and how to go without them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from cnn_jax.data.dataset import Stored
from cnn_jax.data.decode import decode_image
from cnn_jax.data.errors import LISTED, DataError, UnreadableImage, some_of
from cnn_jax.data.examples import Crop, Examples, LabelledExamples
from cnn_jax.data.image_files import read_file


@runtime_checkable
class FileExamples(Examples, Protocol):
    """Examples in image files, some of which may be unreadable."""

    paths: Sequence[Path]

    def check(self, index: int) -> None:
        """Raises UnreadableImage if a file of an example cannot be read."""

    def rows(self, places: Sequence[int]) -> "FileExamples": ...


def decode_file(path: Path, crop: Crop | None = None) -> UInt8[np.ndarray, "height width 3"]:
    """Decodes an image file, see `decode_image`.

    Raises:
        UnreadableImage: it cannot be read.
    """
    try:
        return decode_image(read_file(path), 3, crop, name=str(path))
    except (OSError, ValueError) as error:
        raise UnreadableImage(f"the image file {path} cannot be read: {error}") from error


def first_image(
    paths: Sequence[Path], *, skip_unreadable: bool
) -> UInt8[np.ndarray, "height width 3"]:
    """The first image, or with `skip_unreadable` the first that can be read if there is one."""
    for path in paths if skip_unreadable else ():
        try:
            return decode_file(path)
        except UnreadableImage:
            continue
    return decode_file(paths[0])


def without_unreadable(stored: Stored) -> Stored:
    """The data set without the files that cannot be read, and a note that lists them.

    All files are decoded once.

    Raises:
        DataError: a class of the split "train", or a whole split, is left without images.
    """
    splits, errors = dict(stored.splits), []
    for split, examples in stored.splits.items():
        if not isinstance(examples, FileExamples):
            continue
        with ThreadPoolExecutor() as pool:
            found = list(pool.map(lambda index, e=examples: _error(e, index), range(len(examples))))
        errors += [error for error in found if error]
        kept = [index for index, error in enumerate(found) if not error]
        classes = (
            examples.class_of_each()
            if isinstance(examples, LabelledExamples)
            else np.zeros(len(examples), np.int32)
        )
        without = np.setdiff1d(classes, classes[kept])
        if len(without) and (split == "train" or not kept):
            lost = np.flatnonzero(np.isin(classes, without)).tolist()
            folders = sorted({str(examples.paths[index].parent) for index in lost})
            raise DataError(f"no file can be read in {', '.join(folders[:LISTED])}")
        splits[split] = examples.rows(kept)
    if not errors:
        return stored
    note = f"{len(errors):,} files are left out:\n  {some_of(errors)}"
    return replace(stored, splits=splits, notes=(*stored.notes, note))


def _error(examples: FileExamples, index: int) -> str:
    try:
        examples.check(index)
    except UnreadableImage as error:
        return str(error)
    return ""
