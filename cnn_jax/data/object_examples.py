"""Examples of images with objects: padded boxes, on one canvas."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image as PillowImage

from cnn_jax.data.decode import decode_image
from cnn_jax.data.errors import DataError, UnreadableImage
from cnn_jax.data.examples import HostExample, Spec
from cnn_jax.data.objects import Annotated, Objects, ObjectTarget
from cnn_jax.data.padding import on_canvas, pad_boxes


def resized_size(size: tuple[int, int], longer: int) -> tuple[int, int]:
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
        has_areas: whether annotations have them, so that examples have `areas`.
        target: what is to be predicted.
    """

    annotated: list[Annotated]
    shape: tuple[int, int, int]
    longer: int
    most: int
    crowds: bool
    has_areas: bool
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
        if self.has_areas:
            entries["areas"] = ((self.most,), np.float32)
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
        height, width = resized_size(one.size, self.longer)
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
        if self.has_areas:
            areas = _areas(objects) * scale[0] * scale[1]
            example["areas"] = np.pad(areas, (0, self.most - len(areas))).astype(np.float32)
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


def _areas(objects: Objects) -> Float[np.ndarray, " n"]:
    """The areas of the objects; of their boxes where the annotations of the image have none."""
    if objects.areas is not None:
        return objects.areas
    return (objects.boxes[:, 2:] - objects.boxes[:, :2]).prod(axis=1)


def _resize(
    array: np.ndarray, size: tuple[int, int], resampling: PillowImage.Resampling
) -> np.ndarray:
    if array.shape[:2] == size:
        return array
    image = PillowImage.fromarray(array[..., 0] if array.shape[2:] == (1,) else array)
    return np.asarray(image.resize(size[::-1], resampling)).reshape(*size, *array.shape[2:])
