"""Reads folders of images with YOLO's annotations: one text file for each image.

Source: Ultralytics' documentation, "Object Detection Datasets" and "Instance Segmentation …".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from cnn_jax.data.decode import size_of
from cnn_jax.data.errors import DataError, some_of
from cnn_jax.data.image_files import listed_suffixes, read_file
from cnn_jax.data.mask_pairs import by_name, split_folders
from cnn_jax.data.masks import CLASSES_FILE, read_coding
from cnn_jax.data.names import MOST_CLASSES, way_without
from cnn_jax.data.objects import Annotated, Annotations, Objects
from cnn_jax.data.rasters import check_polygon, instance_ids

MOST_BYTES = 1 << 24
"""The largest text file that is read."""


def find_yolo(root: Path) -> Annotations:
    """Pairs of `images/NAME.jpg` and `labels/NAME.txt`, in `train|val|test/` or below both.

    A line is "class x y width height", centre and sides as shares of the image, or "class x0 y0 x1
    y1 x2 y2 …", a polygon of an instance. An image without a text file has no objects. The names of
    the classes are in `classes.txt`, one a line; otherwise they are numbered.

    Raises:
        DataError: a text file without its image; a line of another form, or of a class that
            `classes.txt` does not list; no images.
    """
    coding = root / CLASSES_FILE
    names = read_coding(coding).names if coding.exists() else ()
    splits: dict[str, list[Annotated]] = {}
    unusable: dict[str, str] = {}
    notes: list[str] = []
    for split, (images, labels) in split_folders(root, "labels").items():
        try:
            splits[split], without = _split(images, labels, len(names) or MOST_CLASSES)
            if without:
                what = f"images in {images} without a text file, and so without objects"
                notes.append(f"{what}: {len(without):,}\n  {some_of(without)}")
        except DataError as error:
            unusable[split] = f"{error}{way_without(split)}"
    if not splits:
        raise DataError(next(iter(unusable.values())))
    if not names:
        found = [one.objects.labels for split in splits.values() for one in split]
        names = tuple(map(str, range(max(labels.max(initial=0) for labels in found) + 1)))
        notes.append(f"the classes are 0 to {names[-1]}; name them in {CLASSES_FILE}, one a line")
    return Annotations(splits, names, unusable, tuple(notes))


def _split(images: Path, labels: Path, classes: int) -> tuple[list[Annotated], list[str]]:
    """The images of a split, and those without a text file."""
    pictures = by_name(images, "", [])
    if not pictures:
        raise DataError(f"{images} holds no images: expected files with {listed_suffixes()}")
    texts = {
        path.relative_to(labels).with_suffix("").as_posix(): path
        for path in sorted(labels.rglob("*.txt"))
        if path.name != CLASSES_FILE
    }
    alone = [str(path) for name, path in texts.items() if name not in pictures]
    if alone:
        raise DataError(
            f"there are no images in {images} for these files, add or remove files:\n "
            f" {some_of(alone)}"
        )
    found = [_annotated(paths[0], texts.get(name), classes) for name, paths in pictures.items()]
    return found, [str(paths[0]) for name, paths in pictures.items() if name not in texts]


def _annotated(image: Path, text: Path | None, classes: int) -> Annotated:
    try:
        size = size_of(read_file(image))
    except (OSError, ValueError) as error:
        raise DataError(f"the image {image} cannot be read: {error}") from error
    lines = _lines(text, size, classes) if text else []
    boxes = np.array([line.box for line in lines], np.float64).reshape(-1, 4)
    outlines = [[line.polygon] for line in lines if line.polygon is not None]
    ids = partial(instance_ids, outlines, size) if len(outlines) == len(lines) else None
    objects = Objects(
        boxes,
        np.array([line.label for line in lines], np.int64),
        np.zeros(len(lines), bool),
        [line.place for line in lines],
    )
    return Annotated(str(image), partial(read_file, image), size, objects, ids)


@dataclass(frozen=True)
class _Line:
    label: int
    box: Sequence[float]
    polygon: np.ndarray | None
    place: str


def _lines(path: Path, size: tuple[int, int], classes: int) -> list[_Line]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES:,} bytes, which is the limit")
        lines = read_file(path).decode("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            place = f"{path}: line {number}"
            try:
                found.append(_parse(line.split(), size, classes, place))
            except ValueError as error:
                raise DataError(f"{place} ({line[:60]!r}): {error}") from error
    return found


def _parse(words: Sequence[str], size: tuple[int, int], classes: int, place: str) -> _Line:
    if len(words) != 5 and (len(words) < 7 or len(words) % 2 == 0):
        raise ValueError(
            f"it has {len(words)} numbers, expected a class and a box of 4 or a polygon of x and y"
        )
    if not (words[0].isascii() and words[0].isdigit() and int(words[0][:9]) < classes):
        raise ValueError(f"{words[0][:20]!r} is no class, expected 0 to {classes - 1}")
    label, values = int(words[0][:9]), np.array(list(map(float, words[1:]))).reshape(-1, 2)
    if not (np.abs(values) <= 2).all():
        raise ValueError("expected shares of width and height, between 0 and 1")
    values = values * size[::-1]
    if len(words) == 5:
        (x, y), (width, height) = values
        box = x - width / 2, y - height / 2, x + width / 2, y + height / 2
        return _Line(label, box, None, place)
    check_polygon(values, size)
    return _Line(label, (*values.min(axis=0), *values.max(axis=0)), values, place)
