"""Gives examples fixed shapes: boxes are padded to a number, images lie on a canvas."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Float32, Int32, Integer

from cnn_jax.data.augment import OUTSIDE
from cnn_jax.data.errors import DataError
from cnn_jax.data.examples import HostExample


def pad_boxes(
    boxes: Float[np.ndarray, "n 4"], labels: Integer[np.ndarray, "n"], number: int
) -> tuple[Float32[np.ndarray, "{number} 4"], Int32[np.ndarray, "{number}"]]:
    """Pads boxes with zeros and their labels with -1, to `number` rows.

    Raises:
        DataError: there are more than `number` boxes.
    """
    if len(boxes) > number:
        raise DataError(
            f"an example has {len(boxes)} boxes, and {number} fit: pad to {len(boxes)} or more"
        )
    missing = number - len(boxes)
    return (
        np.pad(boxes, ((0, missing), (0, 0))).astype(np.float32),
        np.pad(labels, (0, missing), constant_values=-1).astype(np.int32),
    )


def on_canvas(example: Mapping[str, np.ndarray], size: tuple[int, int]) -> HostExample:
    """Puts an example at the upper left of a canvas of `size` (height, width).

    The rest of the canvas is 0 in image, instances and weights, and `IGNORED` in the mask. Boxes
    keep their pixels. The entry `size` is added: height and width of the image itself, int32.

    Raises:
        DataError: the image is larger than the canvas.
    """
    height, width = example["image"].shape[:2]
    if height > size[0] or width > size[1]:
        raise DataError(
            f"an image of {height}x{width} pixels does not fit on a canvas of {size[0]}x{size[1]}:"
            " resize the image, or enlarge the canvas"
        )
    sides = ((0, size[0] - height), (0, size[1] - width))
    laid = {
        name: np.pad(
            example[name],
            sides + ((0, 0),) * (example[name].ndim - 2),
            constant_values=outside,
        )
        for name, outside in {"image": 0, **OUTSIDE}.items()
        if name in example
    }
    return {**example, **laid, "size": np.array([height, width], np.int32)}
