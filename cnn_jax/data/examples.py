"""An example: a dict of arrays of fixed shapes, described by a spec."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Int
from PIL import Image as PillowImage

Spec = Mapping[str, jax.ShapeDtypeStruct]
"""Shape and dtype of each entry of one example, without the batch axis."""

HostExample = dict[str, np.ndarray | np.generic]
"""One example on the host. `augment.Example` lists the entries that it can have."""

Crop = Callable[[PillowImage.Image], PillowImage.Image]
"""Cuts an image of the data set's size out of a whole image of any size."""


@runtime_checkable
class Examples(Protocol):
    """Random access to the decoded examples of a split."""

    @property
    def spec(self) -> Spec: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> HostExample: ...

    def __getitems__(self, indices: Sequence[int]) -> list[HostExample]: ...


@runtime_checkable
class LabelledExamples(Examples, Protocol):
    """Examples whose classes are known without decoding their images."""

    def class_of_each(self) -> Int[np.ndarray, "examples"]: ...


@runtime_checkable
class EncodedExamples(Examples, Protocol):
    """Examples that are stored as whole images of any size and cut when they are decoded.

    `cropped` decodes each example with its own crop. The crop must apply to every entry that has
    a place in the image.
    """

    def cropped(self, indices: Sequence[int], crops: Sequence[Crop]) -> list[HostExample]: ...


def image_and_label(image_shape: tuple[int, int, int]) -> Spec:
    """The spec of a classified image: uint8 `image` of the given shape and int32 `label`."""
    return {
        "image": jax.ShapeDtypeStruct(image_shape, np.uint8),
        "label": jax.ShapeDtypeStruct((), np.int32),
    }
