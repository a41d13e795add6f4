"""Images with boxes: what annotations say of them, and the examples that are made of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, Integer, UInt8
from PIL import Image as PillowImage

from cnn_jax.data.dataset import Stored
from cnn_jax.data.decode import MOST_PIXELS, decode_image
from cnn_jax.data.errors import SKIP_HINT, DataError, UnreadableImage, some_of
from cnn_jax.data.examples import HostExample, Spec
from cnn_jax.data.padding import on_canvas, pad_boxes

ObjectTarget = Literal["box", "boxes", "instances"]
"""The class and the box of the one object of each image; of any number of objects; their pixels."""
Ids = Integer[np.ndarray, "height width"]
"""The object of each pixel: k + 1 for row k of the boxes, 0 for none."""
CLIPPED = 1.0
"""A box may reach this many pixels beyond its image before a note tells of it."""


@dataclass(frozen=True)
class Objects:
    """The objects of an image, as its annotation has them.

    Attributes:
        boxes: (x0, y0, x1, y1) in pixels of the stored image.
        labels: the class of each.
        crowd: whether it is a region of several objects (COCO) or a difficult one (VOC).
        places: where the annotation of each stands, for messages.
    """

    boxes: Float[np.ndarray, "n 4"]
    labels: Int[np.ndarray, " n"]
    crowd: Bool[np.ndarray, " n"]
    places: Sequence[str]


@dataclass(frozen=True)
class Annotated:
    """An image and its objects.

    Attributes:
        name: of the image, for messages: its path.
        read: gives its bytes.
        size: height and width by its annotation.
        objects: what is in it.
        ids: gives the object of each pixel; None without.
    """

    name: str
    read: Callable[[], bytes]
    size: tuple[int, int]
    objects: Objects
    ids: Callable[[], Ids] | None = None


@dataclass(frozen=True)
class Annotations:
    """What a reader finds.

    Attributes:
        splits: the images of each split.
        class_names: in the order of the labels.
        unusable: other splits, with the reasons.
        notes: messages for the user.
        channels: of the images.
    """

    splits: Mapping[str, Sequence[Annotated]]
    class_names: tuple[str, ...]
    unusable: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    channels: int = 3


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
    sizes = np.array([_resized(one.size, image_size) for one in everything]).reshape(-1, 2)
    height, width = sizes.max(axis=0).tolist() if len(sizes) else (1, 1)
    if height * width > MOST_PIXELS:
        raise DataError(
            f"the images of {title} need a canvas of {height}x{width} pixels, and the limit is"
            f" {MOST_PIXELS:,}: resize them with --data.image-size"
        )
    crowds = any(one.objects.crowd.any() for one in everything)
    examples = {
        split: ObjectExamples(
            list(images),
            shape=(height, width, found.channels),
            longer=image_size,
            most=most_boxes or max(count, 1),
            crowds=crowds,
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
    within = Objects(cut[rows], objects.labels[rows], objects.crowd[rows], places)
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


def _resized(size: tuple[int, int], longer: int) -> tuple[int, int]:
    """Height and width if the longer side is resized to `longer`; 0 keeps them."""
    scale = longer / max(size) if longer else 1.0
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


@dataclass(frozen=True)
class ObjectExamples:
    """Random access to images and their objects.

    Attributes:
        annotated: the images.
        shape: of the canvas and its channels.
        longer: the longer side is resized to this; 0 does not resize.
        most: number that boxes are padded to.
        crowds: whether there are any, so that examples have `crowd_labels`.
        target: what is to be predicted.
    """

    annotated: list[Annotated]
    shape: tuple[int, int, int]
    longer: int
    most: int
    crowds: bool
    target: ObjectTarget

    def __len__(self) -> int:
        return len(self.annotated)

    @property
    def paths(self) -> list[Path]:
        """The files of the images."""
        return [Path(one.name) for one in self.annotated]

    @property
    def spec(self) -> Spec:
        entries: dict[str, tuple[tuple[int, ...], type]] = {
            "image": (self.shape, np.uint8),
            "size": ((2,), np.int32),
            "boxes": ((self.most, 4), np.float32),
            "box_labels": ((self.most,), np.int32),
        }
        if self.crowds:
            entries["crowd_labels"] = ((self.most,), np.int32)
        if self.target == "instances":
            entries["instances"] = (self.shape[:2], self._ids_dtype)
        if self.target == "box":
            entries["label"] = ((), np.int32)
        return {name: jax.ShapeDtypeStruct(*entry) for name, entry in entries.items()}

    @property
    def _ids_dtype(self) -> type:
        return np.uint8 if self.most <= 255 else np.uint16

    def __getitem__(self, index: int) -> HostExample:
        one = self.annotated[index]
        image, objects = self._decode(one), one.objects
        if image.shape[:2] != one.size:
            raise DataError(
                f"{one.name} has {image.shape[0]}x{image.shape[1]} pixels (height x width), and its"
                f" annotation is for {one.size[0]}x{one.size[1]}: replace the one that is wrong"
            )
        height, width = _resized(one.size, self.longer)
        scale = np.tile([width / one.size[1], height / one.size[0]], 2)
        boxes, labels = pad_boxes(
            objects.boxes * scale, np.where(objects.crowd, -1, objects.labels), self.most
        )
        example = {
            "image": _resize(image, (height, width), PillowImage.Resampling.BILINEAR),
            "boxes": boxes,
            "box_labels": labels,
        }
        if self.crowds:
            crowd_labels = np.where(objects.crowd, objects.labels, -1)
            example["crowd_labels"] = pad_boxes(objects.boxes, crowd_labels, self.most)[1]
        if self.target == "instances":
            assert one.ids is not None
            ids: np.ndarray = one.ids().astype(self._ids_dtype)
            example["instances"] = _resize(ids, (height, width), PillowImage.Resampling.NEAREST)
        if self.target == "box":
            example["label"] = np.array(objects.labels[0], np.int32)
        return on_canvas(example, self.shape[:2])

    def __getitems__(self, indices: Sequence[int]) -> list[HostExample]:
        return [self[index] for index in indices]

    def _decode(self, one: Annotated) -> UInt8[np.ndarray, "height width channels"]:
        try:
            return decode_image(one.read(), self.shape[2], name=one.name)
        except (OSError, ValueError) as error:
            raise UnreadableImage(f"the image {one.name} cannot be read: {error}") from error

    def check(self, index: int) -> None:
        """Raises UnreadableImage if the image of an example cannot be read."""
        self._decode(self.annotated[index])

    def rows(self, places: Sequence[int]) -> "ObjectExamples":
        """The examples at `places`, in that order."""
        return replace(self, annotated=[self.annotated[index] for index in places])


def _resize(
    array: np.ndarray, size: tuple[int, int], resampling: PillowImage.Resampling
) -> np.ndarray:
    if array.shape[:2] == size:
        return array
    image = PillowImage.fromarray(array[..., 0] if array.shape[2:] == (1,) else array)
    return np.asarray(image.resize(size[::-1], resampling)).reshape(*size, *array.shape[2:])
