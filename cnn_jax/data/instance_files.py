"""Images of instance ids: 0 for the background, and a number of its own for each object."""

from functools import partial
from pathlib import Path

import numpy as np

from cnn_jax.data.decode import opened_image, size_of
from cnn_jax.data.errors import DataError
from cnn_jax.data.image_files import read_file
from cnn_jax.data.mask_pairs import find_named
from cnn_jax.data.masks import CLASSES_FILE
from cnn_jax.data.objects import Annotated, Annotations, Ids, Objects

MOST_IDS = 65_535
"""The largest number of objects of an image."""


def find_instances(root: Path) -> Annotations:
    """Pairs of `images/NAME.jpg` and `instances/NAME.png`, of one class; see `find_named`.

    `classes.txt` may name the class; otherwise it is "object".

    Raises:
        DataError: as `find_named`; an image of ids that cannot be read; several classes.
    """
    pairs = find_named(root, "instances")
    names = pairs.coding.names or ("object",)
    if len(names) > 1:
        raise DataError(
            f"{root / CLASSES_FILE} names {len(names)} classes, and the ids of instances are of one"
            " class: keep one name, or annotate the images as COCO-json"
        )
    splits = {split: [_annotated(*pair) for pair in found] for split, found in pairs.splits.items()}
    return Annotations(splits, names, pairs.unusable, pairs.notes)


def _annotated(image: Path, ids: Path) -> Annotated:
    try:
        size = size_of(read_file(image))
    except (OSError, ValueError) as error:
        raise DataError(f"the image {image} cannot be read: {error}") from error
    found = _read_ids(ids)
    if found.shape != size:
        raise DataError(
            f"the instances {ids} have {found.shape[0]}x{found.shape[1]} pixels (height x width)"
            f" and their image {image} {size[0]}x{size[1]}, expected the same: replace the one that"
            " is wrong"
        )
    objects = objects_of_ids(found, str(ids))
    return Annotated(str(image), partial(read_file, image), size, objects, partial(_read_ids, ids))


def _read_ids(path: Path) -> Ids:
    try:
        return decode_ids(read_file(path))
    except (OSError, ValueError) as error:
        raise DataError(f"the instances {path} cannot be read: {error}") from error


def decode_ids(encoded: bytes) -> Ids:
    """Decodes an image of instance ids, and numbers them 1, 2, … in the order of the ids.

    A gray image of 8 to 32 bits holds the ids, and of one with a palette the indices count.

    Raises:
        ValueError: not a complete image, one with losses (JPEG) or in colours, negative ids, or
            more than `MOST_IDS`.
    """
    if not encoded:
        raise ValueError("it is empty")
    if encoded.startswith(b"\xff\xd8"):
        raise ValueError("it is a JPEG, which changes values: save ids as PNG")
    with opened_image(encoded) as (opened, turn, _):
        if opened.mode not in ("1", "P", "L", "I", "I;16", "I;16B"):
            raise ValueError(f"it is an {opened.mode} image, expected one number for each pixel")
        stored = np.asarray(turn(opened)).astype(np.int32)
    ids = np.unique(stored[stored != 0])
    if len(ids) > MOST_IDS or (len(ids) and ids[0] < 0):
        raise ValueError(
            f"it has {len(ids):,} different ids, {ids[0]} to {ids[-1]}: expected 0 for the"
            f" background and at most {MOST_IDS:,} objects"
        )
    numbers = np.searchsorted(ids, stored) + 1
    return np.where(stored == 0, 0, numbers).astype(np.int32)


def objects_of_ids(ids: Ids, what: str) -> Objects:
    """The objects of pixels: each is of the class 0, and its box is the tightest one."""
    from scipy import ndimage  # takes a while to import

    parts = ndimage.find_objects(ids)
    boxes = [[x.start, y.start, x.stop, y.stop] for y, x in parts]
    count = len(boxes)
    places = [f"{what}, object {number}" for number in range(1, count + 1)]
    return Objects(
        np.array(boxes, np.float64).reshape(count, 4),
        np.zeros(count, np.int64),
        np.zeros(count, bool),
        places,
    )
