"""Reads folders of images with COCO's annotations: one JSON file for each split.

Source: cocodataset.org, "Data format".
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Never

import numpy as np

from cnn_jax.data.errors import DataError, some_of
from cnn_jax.data.image_files import images_below, read_file
from cnn_jax.data.names import MOST_CLASSES, SPLIT_NAMES, way_without
from cnn_jax.data.objects import Annotated, Annotations, Objects
from cnn_jax.data.rasters import (
    Outline,
    check_polygon,
    check_run_lengths,
    decompressed,
    instance_ids,
)

MOST_BYTES = 1 << 30
"""The largest annotation file that is read; COCO's own has 450 MB."""
MOST_SHOWN = 60
"""Characters of a wrong value in a message."""
_SPLIT = rf"(?P<folder>(?P<split>{'|'.join(SPLIT_NAMES)})(?:\d{{4}})?)"
_BESIDE = "_annotations.coco.json"
Categories = dict[int, str]


@dataclass(frozen=True)
class Listed:
    """An image that a file lists.

    Attributes:
        where: the file and the image's id, for messages.
        path: of the image.
        entry: of the image.
        annotations: of the image, each with where it stands, for messages.
    """

    where: str
    path: Path
    entry: Mapping[str, Any]
    annotations: Sequence[tuple[str, dict[str, Any]]]


def coco_files(root: Path, kind: str = "instances") -> dict[str, tuple[Path, Sequence[Path]]]:
    """The annotation file of each split, and the folders that may hold its images.

    These are `annotations/instances_train2017.json` or `annotations/train.json`, with the images in
    `train2017/` or `train/`, there or below `images/`; `train/_annotations.coco.json` beside the
    images; and for a single file, as the split "train", `annotations.json` or
    `_annotations.coco.json`, with the images in `images/` or beside it.

    Args:
        root: the folder.
        kind: what the names of files may begin with, "instances" or "captions".

    Raises:
        DataError: two files for one split.
    """
    found: dict[str, tuple[Path, Sequence[Path]]] = {}
    for path in sorted((root / "annotations").glob("*.json")):
        if match := re.fullmatch(f"(?:{kind}_)?{_SPLIT}", path.stem):
            split, folder = match["split"], match["folder"]
            if split in found:
                raise DataError(
                    f"{found[split][0]} and {path} are both for the split {split}: remove one"
                )
            images = root / "images"
            found[split] = path, (root / folder, images / folder, root / split, images, root)
    if found:
        return found
    for split in SPLIT_NAMES:
        if (path := root / split / _BESIDE).is_file():
            found[split] = path, (path.parent,)
    for name in ("annotations.json", _BESIDE):
        if not found and (root / name).is_file():
            found["train"] = root / name, (root / "images", root)
    return found


def find_coco(root: Path) -> Annotations:
    """The objects in COCO's files of a folder, see `coco_files`.

    Classes are the categories in the order of their ids. Boxes and areas are those of the
    annotations, and the instances their polygons or run lengths. Where only some annotations have
    an area, that of the box stands for the others.

    Raises:
        DataError: a file that is broken or too large; an image, annotation or category that is
            missing, unknown or there twice.
    """
    splits: dict[str, list[Annotated]] = {}
    unusable: dict[str, str] = {}
    notes: list[str] = []
    categories: Categories = {}
    for split, (path, folders) in coco_files(root).items():
        try:
            splits[split], categories, unlisted = _read(path, folders, categories)
            notes += unlisted
        except DataError as error:
            unusable[split] = f"{error}{way_without(split)}"
    if not splits:
        raise DataError(next(iter(unusable.values())))
    names = tuple(categories[number] for number in sorted(categories))
    return Annotations(splits, names, unusable, tuple(notes))


def _read(
    path: Path, folders: Sequence[Path], known: Categories
) -> tuple[list[Annotated], Categories, list[str]]:
    """The images of a file, its categories, and a note on images that it does not list."""
    content = load_json(path)
    categories = _categories(path, _entries(path, content, "categories"), known)
    images, notes = listed_images(path, folders, content)
    labels = {number: label for label, number in enumerate(sorted(categories))}
    found = []
    for one in images:
        height, width = (value_of(one.where, one.entry, key, int) for key in ("height", "width"))
        found.append(_annotated(one.path, (height, width), one.annotations, labels))
    return found, categories, notes


def listed_images(
    path: Path, folders: Sequence[Path], content: dict[str, Any]
) -> tuple[list[Listed], list[str]]:
    """The images that a file lists, and a note on others in their folder.

    Args:
        path: of the file.
        folders: the first one that holds the first image holds them all.
        content: of the file.

    Raises:
        DataError: no images, an image that is missing or there twice, an annotation of none.
    """
    images = _by_id(path, "images", _entries(path, content, "images"))
    if not images:
        raise DataError(f"{path} lists no images")
    of_image: dict[int, list[tuple[str, dict[str, Any]]]] = {number: [] for number in images}
    for number, one in enumerate(_entries(path, content, "annotations")):
        where = f"{path}: annotation {one.get('id', f'number {number}')!s:.{MOST_SHOWN}}"
        image = value_of(where, one, "image_id", int)
        if image not in of_image:
            raise DataError(f"{where} is of the image {image}, which the file does not list")
        of_image[image].append((where, one))
    files = {number: _file_name(path, number, one) for number, one in images.items()}
    first = next(iter(files.values()))
    folder = next((one for one in folders if (one / first).is_file()), folders[0])
    missing = [f"{folder / name}" for name in files.values() if not (folder / name).is_file()]
    if missing:
        raise DataError(
            f"{path} lists {len(missing):,} images that are not there, add them or remove their"
            f" entries:\n  {some_of(missing)}"
        )
    listed = [
        Listed(f"{path}: image {number}", folder / name, images[number], of_image[number])
        for number, name in files.items()
    ]
    known = {one.path for one in listed}
    others = [str(one) for one in images_below(folder)[0] if one not in known]
    notes = []
    # Several splits may share a folder, whose other images are no surprise.
    if others and folder.name not in ("images", folders[-1].name):
        notes = [f"images that {path} does not list: {len(others):,}\n  {some_of(others)}"]
    return listed, notes


def load_json(path: Path) -> dict[str, Any]:
    """The object that a file holds; raises DataError if it does not."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES:,} bytes, which is the limit")
        content = json.loads(read_file(path), parse_constant=_no_number)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} has {_shown(content)}, expected images, annotations, categories")
    return content


def _no_number(name: str) -> Never:
    raise ValueError(f"it has the value {name}")


def _entries(path: Path, content: dict[str, Any], key: str) -> list[dict[str, Any]]:
    entries = content.get(key)
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        found = f"{key} = {_shown(entries)}" if key in content else f"no {key}"
        raise DataError(f"{path} has {found}, expected a list of objects")
    return entries


def _by_id(path: Path, key: str, entries: Sequence[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for place, one in enumerate(entries):
        number = value_of(f"{path}: {key}[{place}]", one, "id", int)
        if number in found:
            raise DataError(f"{path}: {key}[{place}] has the id {number} of another one before")
        found[number] = one
    return found


def _categories(path: Path, entries: Sequence[dict[str, Any]], known: Categories) -> Categories:
    found = {
        number: value_of(f"{path}: category {number}", one, "name", str)
        for number, one in _by_id(path, "categories", entries).items()
    }
    if not 1 <= len(found) <= MOST_CLASSES:
        raise DataError(f"{path} has {len(found):,} categories, expected 1 to {MOST_CLASSES:,}")
    if known and found != known:
        number, name = next(iter(sorted(found.items() ^ known.items())))
        raise DataError(
            f"{path} has other categories than the split before, such as {number} ({name!r:.60}):"
            " give all splits the same"
        )
    return found


def _file_name(path: Path, number: int, image: dict[str, Any]) -> str:
    name = value_of(f"{path}: image {number}", image, "file_name", str)
    parts = PurePosixPath(name).parts
    if not parts or parts[0] == "/" or ".." in parts or "\0" in name:
        raise DataError(
            f"{path}: image {number} has the file_name {_shown(name)}, expected a path below the"
            " folder of images"
        )
    return name


def _annotated(
    path: Path,
    size: tuple[int, int],
    annotations: Sequence[tuple[str, dict[str, Any]]],
    label_of: Mapping[int, int],
) -> Annotated:
    boxes, labels, crowd, places = np.zeros((len(annotations), 4)), [], [], []
    areas: list[float] = []
    outlines: list[Outline | None] = []
    for row, (where, one) in enumerate(annotations):
        category = value_of(where, one, "category_id", int)
        if category not in label_of:
            raise DataError(
                f"{where} is of the category {category}, which the file does not list: add it to"
                " the categories"
            )
        x, y, width, height = _numbers(where, "bbox", one.get("bbox"), 4)
        boxes[row] = x, y, x + width, y + height
        labels.append(label_of[category])
        areas.append(_area(where, one, width * height))
        crowd.append(bool(one.get("iscrowd", 0)))
        places.append(where)
        outlines.append(_outline(where, one.get("segmentation"), size))
    ids = None
    whole = [outline for outline in outlines if outline is not None]
    if len(whole) == len(outlines):
        ids = partial(instance_ids, whole, size)
    has_areas = any(one.get("area") is not None for _, one in annotations)
    objects = Objects(
        boxes,
        np.array(labels, np.int64),
        np.array(crowd, bool),
        places,
        np.array(areas) if has_areas else None,
    )
    return Annotated(str(path), partial(read_file, path), size, objects, ids)


def _area(where: str, annotation: dict[str, Any], of_box: float) -> float:
    area = annotation.get("area")
    if area is None:
        return of_box
    (area,) = _numbers(where, "area", [area], 1)
    if area < 0:
        raise DataError(f"{where} has area = {_shown(area)}, expected pixels, 0 or more")
    return area


def _outline(where: str, segmentation: Any, size: tuple[int, int]) -> Outline | None:
    """The polygons or run lengths of an annotation; None if it has neither."""
    if not segmentation:
        return None
    try:
        if isinstance(segmentation, list):
            polygons = []
            for one in segmentation:
                points = np.array(_numbers(where, "segmentation", one), np.float64)
                if len(points) % 2:
                    raise ValueError(f"its polygon has {len(points)} numbers, expected x and y")
                polygons.append(points.reshape(-1, 2))
                check_polygon(polygons[-1], size)
            return polygons
        counts = value_of(where, segmentation, "counts", list | str)
        lengths = decompressed(counts) if isinstance(counts, str) else counts
        if _numbers(where, "segmentation size", segmentation.get("size"), 2) != list(size):
            raise ValueError(f"its size is {_shown(segmentation.get('size'))}, of the image {size}")
        counts = np.array(_numbers(where, "counts", lengths), np.int64)
        check_run_lengths(counts.tolist(), size)
        return counts
    except ValueError as error:
        raise DataError(f"{where} has a segmentation that cannot be used: {error}") from error


def _numbers(where: str, key: str, values: Any, count: int | None = None) -> list[float]:
    right = isinstance(values, list) and count in (None, len(values))
    if not right or not all(type(one) in (int, float) and abs(one) < 1e15 for one in values):
        expected = f"{count} numbers" if count else "numbers"
        raise DataError(f"{where} has {key} = {_shown(values)}, expected a list of {expected}")
    return values


def value_of(where: str, entry: Any, key: str, kind: Any) -> Any:
    """The value of a key; raises DataError unless it is there and of a type."""
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        expected = {int: "an integer", str: "a text"}.get(kind, "a list or a text")
        found = f"{key} = {_shown(value)}" if value is not None else f"no {key}"
        raise DataError(f"{where} has {found}, expected {expected}")
    return value


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"
