"""Many small images as one."""

import math

import numpy as np
from jaxtyping import Float


def mosaic(
    tiles: Float[np.ndarray, "n height width channels"],
    *,
    gap: int = 1,
    background: float | tuple[float, ...] = 1.0,
) -> Float[np.ndarray, "mosaic_height mosaic_width channels"]:
    """Tiles from left to right and top to bottom, in a rectangle of about 3:2.

    Args:
        tiles: at least one image in [0, 1].
        gap: pixels between the tiles.
        background: value of the pixels between the tiles, or one for each channel; white.
    """
    count, height, width, channels = tiles.shape
    columns = _columns(count, width / height)
    rows = math.ceil(count / columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, channels)
    whole = np.full(shape, background, tiles.dtype)
    for index, tile in enumerate(tiles):
        top, left = (index // columns) * (height + gap), (index % columns) * (width + gap)
        whole[top : top + height, left : left + width] = tile
    return whole


def _columns(count: int, aspect: float) -> int:
    """The number of columns that best fills a rectangle of 3:2; `aspect` is width / height."""

    def badness(columns: int) -> float:
        rows = math.ceil(count / columns)
        empty = rows * columns - count
        return abs(math.log(columns * aspect / (1.5 * rows))) + 8 * empty / (rows * columns)

    return min(range(1, count + 1), key=badness)
