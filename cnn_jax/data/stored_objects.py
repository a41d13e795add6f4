"""Makes a data set of annotated images: checks them, and finds its canvas and number of boxes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from jaxtyping import Int

from cnn_jax.data.dataset import Stored
from cnn_jax.data.decode import MOST_PIXELS
from cnn_jax.data.errors import SKIP_HINT, DataError, some_of
from cnn_jax.data.object_examples import ObjectExamples, resized_size
from cnn_jax.data.objects import Annotated, Annotations, Ids, Objects, ObjectTarget

CLIPPED = 1.0
"""A box may reach this many pixels beyond its image before a note tells of it."""


def store_objects(
    name: str,
    title: str,
    found: Annotations,
    target: ObjectTarget,
    *,
    image_size: int = 0,
    most_boxes: int = 0,
    skip_unreadable: bool = False,
) -> Stored:
    """The data set of these annotations: padded boxes, and images on one canvas with their sizes.

    Boxes are cut at the border of their image. With `image_size` the longer side of each image is
    resized to it, with its boxes and instances. The canvas is as high as the highest image and as
    wide as the widest one.

    Args:
        name: in `--data.name`.
        title: in a figure's title.
        found: by a reader.
        target: "instances" needs ids of pixels, "box" one object in each image.
        image_size: pixels of the longer side; 0 leaves images as they are.
        most_boxes: the number that boxes are padded to; 0 is that of the image with the most.
        skip_unreadable: leaves out boxes that cannot be used, with a note.

    Raises:
        DataError: boxes without area or outside of their image; an image with more than
            `most_boxes`; what `target` needs is missing.
    """
    splits, notes = _checked(found.splits, skip_unreadable)
    everything = [one for split in splits.values() for one in split]
    if target == "box":
        _check_one_object(everything, title)
    without = [one.name for one in everything if one.ids is None]
    if target == "instances" and without:
        raise DataError(
            f"{title} has boxes without the pixels of instances (use it for detection):\n "
            f" {some_of(without)}"
        )
    fullest = max(everything, key=lambda one: len(one.objects.boxes), default=None)
    count = len(fullest.objects.boxes) if fullest else 0
    if fullest and 0 < most_boxes < count:
        raise DataError(
            f"{fullest.name} has {count} objects, and {most_boxes} fit: set --data.most-boxes to"
            f" {count} or more, or to 0 for as many as there are"
        )
    sizes = np.array([resized_size(one.size, image_size) for one in everything]).reshape(-1, 2)
    height, width = sizes.max(axis=0).tolist() if len(sizes) else (1, 1)
    if height * width > MOST_PIXELS:
        raise DataError(
            f"the images of {title} need a canvas of {height}x{width} pixels, and the limit is"
            f" {MOST_PIXELS:,}: resize them with --data.image-size"
        )
    crowds = any(one.objects.crowd.any() for one in everything)
    has_areas = any(one.objects.areas is not None for one in everything)
    examples = {
        split: ObjectExamples(
            list(images),
            shape=(height, width, found.channels),
            longer=image_size,
            most=most_boxes or max(count, 1),
            crowds=crowds,
            has_areas=has_areas,
            target=target,
        )
        for split, images in splits.items()
    }
    return Stored(
        name,
        title,
        examples,
        found.class_names,
        unusable=found.unusable,
        notes=(*found.notes, *notes),
    )


def _checked(
    splits: Mapping[str, Sequence[Annotated]], skip: bool
) -> tuple[dict[str, list[Annotated]], tuple[str, ...]]:
    """The images with boxes within them, and notes on what was changed."""
    problems: list[str] = []
    beyond: list[str] = []
    checked = {
        split: [_within(one, problems, beyond) for one in images]
        for split, images in splits.items()
    }
    if problems and not skip:
        raise DataError(f"boxes cannot be used:\n  {some_of(problems)}\n{SKIP_HINT}")
    notes = (
        (problems, "boxes that cannot be used are left out"),
        (beyond, "boxes that reach beyond their image are cut at its border"),
    )
    return checked, tuple(f"{what}: {len(of):,}\n  {some_of(of)}" for of, what in notes if of)


def _within(one: Annotated, problems: list[str], beyond: list[str]) -> Annotated:
    """The image with the boxes that have an area within it. Adds to both lists."""
    objects, (height, width) = one.objects, one.size
    cut = np.clip(objects.boxes, 0, [width, height, width, height])
    kept = np.isfinite(cut).all(axis=1) & (cut[:, :2] < cut[:, 2:]).all(axis=1)
    for row, box in enumerate(objects.boxes.tolist()):
        what = f"{objects.places[row]}: the box ({', '.join(f'{value:g}' for value in box)})"
        if not np.isfinite(box).all():
            problems.append(f"{what} is not finite")
        elif not (box[0] < box[2] and box[1] < box[3]):
            problems.append(f"{what} has no area, expected x0 < x1 and y0 < y1")
        elif not kept[row]:
            problems.append(f"{what} is outside of {one.name}, of {height}x{width} pixels")
        elif np.abs(cut[row] - box).max() > CLIPPED:
            beyond.append(f"{what} in {one.name}, of {height}x{width} pixels")
    rows = np.flatnonzero(kept)
    ids = one.ids
    if ids is not None and not kept.all():
        ids = partial(_renumbered, ids, rows, len(kept))
    places = [objects.places[row] for row in rows.tolist()]
    areas = None if objects.areas is None else objects.areas[rows]
    within = Objects(cut[rows], objects.labels[rows], objects.crowd[rows], places, areas)
    return replace(one, objects=within, ids=ids)


def _renumbered(ids: Callable[[], Ids], rows: Int[np.ndarray, " kept"], count: int) -> Ids:
    table = np.zeros(count + 1, np.int32)
    table[rows + 1] = np.arange(1, len(rows) + 1)
    return table[ids()]


def _check_one_object(images: Sequence[Annotated], title: str) -> None:
    wrong = [
        f"{one.name} has {len(one.objects.boxes)}"
        for one in images
        if len(one.objects.boxes) != 1 or one.objects.crowd.any()
    ]
    if wrong:
        raise DataError(
            f"localization needs one object in each image, and {title} has other numbers (use it"
            f" for detection):\n  {some_of(wrong)}"
        )
