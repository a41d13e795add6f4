"""Feature maps as images."""

import numpy as np
from jaxtyping import Float

from cnn_jax.visual.mosaic import mosaic
from cnn_jax.visual.style import AnyArray

_LINE = 1 / 28  # between the tiles, in units of their height


def strongest_maps(
    maps: Float[AnyArray, "height width channels"], *, count: int = 16
) -> Float[np.ndarray, "mosaic_height mosaic_width 1"]:
    """The maps of largest mean absolute value as one gray image, in descending order.

    Each map is scaled to the range from black to white. A constant map is black.

    Args:
        maps: feature maps of one image.
        count: largest number of maps.
    """
    maps = np.asarray(maps, np.float32)
    order = np.argsort(-np.mean(np.abs(maps), axis=(0, 1)), kind="stable")[:count]
    tiles = np.moveaxis(maps[..., order], -1, 0)
    low, high = (f(tiles, axis=(1, 2), keepdims=True) for f in (np.min, np.max))
    scaled = (tiles - low) / np.where(high > low, high - low, 1)
    return mosaic(scaled[..., None], gap=max(1, round(_LINE * maps.shape[0])))
