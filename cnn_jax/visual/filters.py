"""The kernels of first layers as images."""

import numpy as np
from jaxtyping import Float
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from cnn_jax.visual.mosaic import mosaic
from cnn_jax.visual.style import AnyArray, new_figure

_WIDTH = 6.0
_BACKGROUND = to_rgb("#cfe3ef")  # white would be the colour of a large weight


def first_layer_filters(
    kernel: Float[AnyArray, "height width in_channels out_channels"], *, title: str
) -> Figure:
    """The kernels of a first layer as a figure; see `filter_mosaic`.

    Args:
        kernel: HWIO.
        title: names the model and the data set.

    Raises:
        ValueError: the kernel does not have four dimensions, or one of them is 0.
    """
    shown = filter_mosaic(kernel)
    figure = new_figure(_WIDTH, _WIDTH * shown.shape[0] / shown.shape[1], title)
    axes = figure.add_subplot()
    axes.imshow(shown, interpolation="nearest")
    axes.set_axis_off()
    return figure


def filter_mosaic(
    kernel: Float[AnyArray, "height width in_channels out_channels"],
) -> Float[np.ndarray, "mosaic_height mosaic_width 3"]:
    """The kernels of a first layer as one RGB image in [0, 1], a tile for each output channel.

    Each filter is scaled by its largest absolute weight, and zero is middle gray. A filter with
    three input channels is a colour image; otherwise its input channels are gray, side by side.

    Args:
        kernel: HWIO.

    Raises:
        ValueError: the kernel does not have four dimensions, or one of them is 0.
    """
    kernel = np.asarray(kernel, dtype=np.float32)
    if kernel.ndim != 4 or 0 in kernel.shape:
        raise ValueError(
            "expected a kernel of shape [height, width, in channels, out channels], "
            f"got {kernel.shape}"
        )
    tiles = np.stack([_tile(kernel[..., index]) for index in range(kernel.shape[-1])])
    return mosaic(tiles, background=_BACKGROUND)


def _tile(weights: np.ndarray) -> np.ndarray:
    """One filter [height, width, in channels] as RGB in [0, 1]."""
    largest = np.abs(weights).max()
    scaled = 0.5 + weights / (2 * largest) if largest > 0 else np.full_like(weights, 0.5)
    if weights.shape[-1] == 3:
        return scaled
    beside = np.concatenate(np.moveaxis(scaled, -1, 0), axis=1)
    return np.repeat(beside[..., None], 3, axis=-1)
