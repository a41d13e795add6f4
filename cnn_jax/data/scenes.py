"""Procedural scenes of shapes, with exact masks, boxes and instances."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import jax
import numpy as np
from jaxtyping import Bool, Float32

from cnn_jax.data.dataset import Stored
from cnn_jax.data.errors import DataError
from cnn_jax.data.examples import HostExample, Spec
from cnn_jax.data.names import TITLES
from cnn_jax.data.objects import ObjectTarget
from cnn_jax.data.padding import pad_boxes

CLASS_NAMES = ("background", "circle", "square", "triangle")
"""The classes of pixels and boxes, by their numbers; no box has the class 0."""
COLOURS = ((220, 50, 47), (38, 139, 210), (90, 170, 40), (240, 190, 30), (160, 70, 200))
COLOUR_NAMES = ("red", "blue", "green", "yellow", "purple")
SIZES = {"train": 2048, "validation": 256, "test": 512}
MOST = 6
"""The largest number of shapes in a scene, to which boxes are padded."""
DEFAULT_SIZE, LEAST_SIZE = 64, 16
NOISE = 24
"""The background and the colours vary by up to this many levels of 255, pixel by pixel."""


def open_shapes(
    image_size: int = 0, target: Literal["label", "mask"] | ObjectTarget = "mask"
) -> Stored:
    """Scenes of circles, squares and triangles, as train, validation and test.

    Args:
        image_size: height and width in pixels, at least 16; 0 means 64.
        target: for objects there is no class "background", and for "box" one shape in each scene.

    Raises:
        DataError: a smaller image size.
    """
    size = checked_size(image_size)
    splits = {
        name: SceneExamples(number, count, size, target)
        for number, (name, count) in enumerate(SIZES.items())
    }
    names = CLASS_NAMES if target in ("label", "mask") else CLASS_NAMES[1:]
    return Stored("shapes", f"{TITLES['shapes']} {size}x{size}", splits, names)


def checked_size(image_size: int) -> int:
    """Height and width of scenes: 64 for 0; raises DataError for less than 16."""
    size = image_size or DEFAULT_SIZE
    if size < LEAST_SIZE:
        raise DataError(
            f"--data.image-size {size} is too small for scenes of shapes: use {LEAST_SIZE} or more"
        )
    return size


@dataclass(frozen=True)
class Shape:
    """A shape as it is drawn, before others cover a part of it.

    Attributes:
        label: its class, a place in `CLASS_NAMES`.
        colour: a place in `COLOURS`.
        centre: y and x in pixels.
        radius: about half of its height and width, in pixels.
    """

    label: int
    colour: int
    centre: tuple[float, float]
    radius: float


@dataclass(frozen=True)
class SceneExamples:
    """Random access to the scenes of a split. Each scene is drawn on access."""

    split: int
    count: int
    size: int
    target: str

    @property
    def spec(self) -> Spec:
        return {
            name: jax.ShapeDtypeStruct(np.shape(value), value.dtype)
            for name, value in self[0].items()
        }

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> HostExample:
        most = 1 if self.target == "box" else MOST
        example = scene((self.split, range(self.count)[index]), self.size, most)
        if self.target in ("label", "mask"):
            return example
        del example["mask"]
        if self.target != "instances":
            del example["instances"]
        labels = np.asarray(example["box_labels"])
        labels = np.where(labels > 0, labels - 1, labels)  # without the background
        if self.target == "box":
            example["label"] = labels[0]
        return example | {"box_labels": labels, "size": np.full(2, self.size, np.int32)}

    def __getitems__(self, indices: Sequence[int]) -> list[HostExample]:
        return [self[index] for index in indices]


def scene(seed: Sequence[int], size: int, most: int = MOST) -> HostExample:
    """The example of `described_scene`."""
    return described_scene(seed, size, most)[0]


def described_scene(
    seed: Sequence[int], size: int, most: int = MOST
) -> tuple[HostExample, list[Shape]]:
    """One scene, a pure function of the seed: 1 to `most` shapes on a noisy background.

    A shape covers those before it. A shape that would leave less than half of another one visible
    is not drawn. Mask, boxes and instances are those of the visible pixels; boxes are tight.

    Returns:
        The example, and its shapes in the order of the boxes. The example has image uint8 [size,
        size, 3], mask and instances uint8 [size, size], boxes float32 [most, 4] and box_labels
        int32 [most]. The pixels of box k - 1 have the value k in `instances`.
    """
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
    background = np.full(3, generator.integers(40, 200))
    colours, labels, areas = [background], [0], [0]
    shapes: list[Shape] = []
    instances = np.zeros((size, size), np.uint8)
    for _ in range(generator.integers(1, most, endpoint=True)):
        label = int(generator.integers(1, len(CLASS_NAMES)))
        colour = int(generator.integers(len(COLOURS)))
        radius = generator.uniform(*radii(size))
        centre = generator.uniform(radius, size - radius, 2)
        inside = _shape(label, centre, radius, size)
        drawn = np.where(inside, len(labels), instances).astype(np.uint8)
        visible = np.bincount(drawn.reshape(-1), minlength=len(labels) + 1)
        if np.all(2 * visible[1:] >= [*areas[1:], visible[-1]]):
            instances = drawn
            shapes.append(Shape(label, colour, (centre[0], centre[1]), radius))
            colours.append(np.array(COLOURS[colour]))
            labels.append(label)
            areas.append(visible[-1])
    noise = generator.integers(-NOISE, NOISE, (size, size, 3), np.int16, endpoint=True)
    image = np.clip(np.array(colours)[instances] + noise, 0, 255).astype(np.uint8)
    boxes = np.stack([_box(instances == k) for k in range(1, len(labels))])
    boxes, box_labels = pad_boxes(boxes, np.array(labels[1:]), most)
    example = {
        "image": image,
        "mask": np.array(labels, np.uint8)[instances],
        "instances": instances,
        "boxes": boxes,
        "box_labels": box_labels,
    }
    return example, shapes


def radii(size: int) -> tuple[float, float]:
    """The least and the largest radius of the shapes of scenes of this height and width."""
    return max(3, size / 10), size / 4


def _shape(
    label: int, centre: np.ndarray, radius: float, size: int
) -> Bool[np.ndarray, "{size} {size}"]:
    """The pixels whose centres are inside a shape of about `radius` around `centre` (y, x)."""
    y = (np.arange(size) + 0.5 - centre[0])[:, None] / radius
    x = (np.arange(size) + 0.5 - centre[1])[None, :] / radius
    match CLASS_NAMES[label]:
        case "circle":
            return x**2 + y**2 <= 1
        case "square":
            return np.maximum(np.abs(x), np.abs(y)) <= 0.8
        case _:  # a triangle that stands on its base
            return (np.abs(x) <= (y + 1) / 2) & (y <= 0.8)


def _box(pixels: Bool[np.ndarray, "size size"]) -> Float32[np.ndarray, "4"]:
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
