"""Reads folders of images with COCO's captions: one JSON file for each split.

Source: cocodataset.org, "Data format", 4. Image Captioning.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cnn_jax.data.coco_json import Listed, coco_files, listed_images, load_json, value_of
from cnn_jax.data.dataset import Stored
from cnn_jax.data.decode import centre_square
from cnn_jax.data.errors import DataError, some_of
from cnn_jax.data.folders import FolderExamples
from cnn_jax.data.names import way_without
from cnn_jax.data.unreadable import first_image

LAYOUT = "annotations/captions_train.json with train/, or annotations.json with images/"


def open_captioned_folder(
    name: str, image_size: int = 0, *, skip_unreadable: bool = False
) -> tuple[Stored, dict[str, list[list[str]]]]:
    """Images in COCO's files, see `coco_files`, and of each split the captions of every image.

    Images are converted to RGB. With `image_size` the shorter side is resized to it and the central
    square is kept. Otherwise all images must have the size of the first, or with `skip_unreadable`
    of the first that can be read. A split whose file is broken is an error only if it is used.

    Raises:
        DataError: no folder or no such file; a file that is broken or too large; an image that is
            missing, there twice or without a caption.
    """
    root = Path(name).expanduser()
    files = coco_files(root, "captions") if root.is_dir() else {}
    if not files:
        raise DataError(f"there is no folder {root} with captions: expected one with {LAYOUT}")
    paths: dict[str, list[Path]] = {}
    captions: dict[str, list[list[str]]] = {}
    unusable: dict[str, str] = {}
    notes: list[str] = []
    for split, (path, folders) in files.items():
        try:
            images, unlisted = listed_images(path, folders, load_json(path))
            captions[split] = _captions(path, images)
            paths[split] = [one.path for one in images]
            notes += unlisted
        except DataError as error:
            unusable[split] = f"{error}{way_without(split)}"
    if not paths:
        raise DataError(next(iter(unusable.values())))
    shape, crop = (image_size, image_size, 3), None
    if image_size:
        crop = centre_square(image_size)
    else:
        shape = first_image(next(iter(paths.values())), skip_unreadable=skip_unreadable).shape
    splits = {
        split: FolderExamples(of_split, np.zeros(len(of_split), np.int32), shape, crop)
        for split, of_split in paths.items()
    }
    title = root.resolve().name
    return Stored(str(root), title, splits, (), unusable=unusable, notes=tuple(notes)), captions


def _captions(path: Path, images: Sequence[Listed]) -> list[list[str]]:
    """The captions of each image."""
    if without := [str(one.path) for one in images if not one.annotations]:
        raise DataError(
            f"{path} has {len(without):,} images without a caption, write one or remove them:\n"
            f"  {some_of(without)}"
        )
    return [
        [value_of(where, entry, "caption", str) for where, entry in one.annotations]
        for one in images
    ]
