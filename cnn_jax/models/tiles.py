"""Overlapping tiles: a large image through a network part by part (U-Net's figure 2)."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from cnn_jax.errors import ConfigError


def mirrored(size: int, before: int, after: int) -> Int[np.ndarray, "places"]:
    """The indices of `size` pixels and of as many before and after them, mirrored at the ends.

    As `numpy.pad` with "reflect": the pixel at an end is not repeated. A single pixel is.
    """
    period = max(2 * (size - 1), 1)
    places = np.arange(-before, size + after) % period
    return np.minimum(places, period - places) if size > 1 else np.zeros_like(places)


def predict_tiles(
    predict: Callable[[Shaped[np.ndarray, "1 tile tile channels"]], Any],
    image: Shaped[np.ndarray, "height width channels"],
    *,
    tile: int,
    margin: int,
    step: int | None = None,
) -> Shaped[np.ndarray, "height width ..."]:
    """What a network predicts for every pixel of an image of any size, tile by tile.

    Beyond the border the image is mirrored. Only one tile of it is read at a time, so it may be a
    memory map. The result equals that for the whole image if the margin covers half the receptive
    field and the step is a multiple of the network's stride; U-Net with `border="valid"` has the
    margin 92 and the stride 16. A smaller margin leaves seams.

    Args:
        predict: maps one tile to its outputs: [1, height, width, …], of all of its pixels or of
            those in the middle, such as classes or logits.
        image: the image.
        tile: height and width of the tiles that `predict` gets.
        margin: width of the border of a tile whose outputs are not used.
        step: distance between tiles; None is tile - 2 margin, the largest that leaves no gaps.

    Raises:
        ConfigError: a step that leaves gaps, or a tile without outputs for the step.
    """
    step = tile - 2 * margin if step is None else step
    if margin < 0 or not 1 <= step <= tile - 2 * margin:
        raise ConfigError(
            f"tiles of {tile} pixels with a margin of {margin} on every side cover "
            f"{tile - 2 * margin} pixels: the step must be between 1 and that, got {step}"
        )
    height, width = image.shape[:2]
    rows, columns = (mirrored(size, margin, tile + step) for size in (height, width))
    result: Any = None
    for top in range(0, height, step):
        for left in range(0, width, step):
            part = image[rows[top : top + tile]][:, columns[left : left + tile]]
            outputs = np.asarray(predict(part[None]))[0]
            row, column = (margin - (tile - size) // 2 for size in outputs.shape[:2])
            outputs = outputs[max(row, 0) :, max(column, 0) :][:step, :step]
            if min(row, column) < 0 or min(outputs.shape[:2]) < step:
                raise ConfigError(
                    f"the network's outputs do not cover {step} pixels of a tile of {tile} with a "
                    f"margin of {margin}; set a larger margin"
                )
            if result is None:
                result = np.empty((height, width, *outputs.shape[2:]), outputs.dtype)
            place = result[top : top + step, left : left + step]
            place[...] = outputs[: place.shape[0], : place.shape[1]]
    return result
