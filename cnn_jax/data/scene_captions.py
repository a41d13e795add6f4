"""Captions of scenes of shapes: sentences that say exactly what each of them shows."""

from collections.abc import Sequence

import numpy as np

from cnn_jax.data.dataset import Stored
from cnn_jax.data.names import TITLES
from cnn_jax.data.scenes import (
    CLASS_NAMES,
    COLOUR_NAMES,
    Shape,
    checked_size,
    described_scene,
    radii,
)
from cnn_jax.data.splits import ArraySplit

MOST = 2
"""The largest number of shapes in a scene with captions."""
SIZES = {"train": 8192, "validation": 256, "test": 512}
DEFAULT_SIZE = 32
SIZE_NAMES = ("small", "large")
OPPOSITES = {"above": "below", "below": "above", "left of": "right of", "right of": "left of"}
KINDS = (
    ("shape", CLASS_NAMES[1:]),
    ("colour", COLOUR_NAMES),
    ("size", SIZE_NAMES),
    ("relation", ("above", "below", "left", "right")),
)
"""The words that say something, by what they say."""


def open_captioned_shapes(image_size: int = 0) -> tuple[Stored, dict[str, list[list[str]]]]:
    """Scenes of one or two shapes, and of each split the captions of every scene.

    Args:
        image_size: height and width in pixels, at least 16; 0 means 32.

    Raises:
        DataError: a smaller image size.
    """
    size = checked_size(image_size or DEFAULT_SIZE)
    splits: dict[str, ArraySplit] = {}
    captions: dict[str, list[list[str]]] = {}
    for number, (split, count) in enumerate(SIZES.items()):
        scenes = [described_scene((number, index), size, MOST) for index in range(count)]
        splits[split] = ArraySplit({"image": np.stack([one["image"] for one, _ in scenes])})
        captions[split] = [scene_captions(shapes, size) for _, shapes in scenes]
    title = f"{TITLES['shapes']} {size}x{size} with captions"
    return Stored("shapes", title, splits, ()), captions


def scene_captions(shapes: Sequence[Shape], size: int) -> list[str]:
    """Five sentences about a scene of one or two shapes. All are true, and each says everything.

    A shape is large if its radius is above the middle of those that are drawn. Of two shapes, one
    is above or below the other if their centres differ more in height than from left to right.

    Args:
        shapes: of the scene.
        size: height and width of the scene in pixels.
    """
    names = [(_size(shape, size), COLOUR_NAMES[shape.colour], _class(shape)) for shape in shapes]
    if len(shapes) == 1:
        ((large, colour, kind),) = names
        return [
            f"a {large} {colour} {kind}",
            f"there is a {large} {colour} {kind}",
            f"one {large} {colour} {kind}",
            f"a {colour} {kind} that is {large}",
            f"a {large} {kind} that is {colour}",
        ]
    first, second = (f"a {' '.join(name)}" for name in names)
    relation = _relation(*shapes)
    opposite = OPPOSITES[relation]
    return [
        f"{first} {relation} {second}",
        f"{second} {opposite} {first}",
        f"{first} is {relation} {second}",
        f"{second} is {opposite} {first}",
        f"there is {first} {relation} {second}",
    ]


def _class(shape: Shape) -> str:
    return CLASS_NAMES[shape.label]


def _size(shape: Shape, size: int) -> str:
    return SIZE_NAMES[int(2 * shape.radius > sum(radii(size)))]


def _relation(one: Shape, other: Shape) -> str:
    """Where one shape is, seen from the other."""
    down, right = (a - b for a, b in zip(one.centre, other.centre, strict=True))
    if abs(down) > abs(right):
        return "below" if down > 0 else "above"
    return "right of" if right > 0 else "left of"
