"""What annotations say of the objects in images, whatever their format."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

ObjectTarget = Literal["box", "boxes", "instances"]
"""The class and the box of the one object of each image; of any number of objects; their pixels."""
Ids = Integer[np.ndarray, "height width"]
"""The object of each pixel: k + 1 for row k of the boxes, 0 for none."""


@dataclass(frozen=True)
class Objects:
    """The objects of an image, as its annotation has them.

    Attributes:
        boxes: (x0, y0, x1, y1) in pixels of the stored image.
        labels: the class of each.
        crowd: whether it is a region of several objects (COCO) or a difficult one (VOC).
        places: where the annotation of each stands, for messages.
        areas: of each in pixels, where annotations have one beside the box (COCO); None without.
    """

    boxes: Float[np.ndarray, "n 4"]
    labels: Int[np.ndarray, " n"]
    crowd: Bool[np.ndarray, " n"]
    places: Sequence[str]
    areas: Float[np.ndarray, " n"] | None = None


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
