"""Images and their reconstructions from small codes."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnn_jax.visual.pixels import draw_pixels
from cnn_jax.visual.style import CAPTION_SIZE, INK, LABEL_SIZE, AnyArray, new_figure

_CELL = 0.85
_NAMES_WIDTH = 1.3
_CAPTION_HEIGHT = 0.24

Images = Float[AnyArray, "n height width channels"]


def reconstructions(
    images: Images,
    rows: Mapping[str, Images],
    captions: Sequence[str],
    *,
    title: str,
) -> Figure:
    """A row of images, and below it a row of reconstructions for each method.

    Each reconstruction has its squared error, summed over pixels and channels, below it.

    Args:
        images: originals in [0, 1], gray or RGB.
        rows: reconstructions by the name of the method, drawn clipped to [0, 1].
        captions: one above each image.
        title: names the data set and the split.

    Raises:
        ValueError: there is no image, a wrong number of channels or captions, or reconstructions
            of a different shape.
    """
    images = np.asarray(images)
    if images.ndim != 4 or not len(images) or images.shape[-1] not in (1, 3):
        raise ValueError(
            f"expected at least one image of shape [n, height, width, 1 or 3], got {images.shape}"
        )
    if len(captions) != len(images):
        raise ValueError(f"{len(images)} images need as many captions, got {len(captions)}")
    for name, row in rows.items():
        if row.shape != images.shape:
            raise ValueError(
                f"the reconstructions {name!r} have shape {row.shape}, the images {images.shape}: "
                "expected the same"
            )

    height = _CELL * images.shape[1] / images.shape[2] + _CAPTION_HEIGHT
    figure = new_figure(
        _NAMES_WIDTH + (_CELL + 0.08) * len(images), (height + 0.1) * (len(rows) + 1), title
    )
    grid = figure.subplots(len(rows) + 1, len(images), squeeze=False)
    for axes, image, caption in zip(grid[0], images, captions, strict=True):
        _show(axes, image)
        axes.set_title(caption, fontsize=CAPTION_SIZE, color=INK, pad=3)
    for cells, row in zip(grid[1:], rows.values(), strict=True):
        errors = np.square(np.asarray(row, np.float64) - images).sum(axis=(1, 2, 3))
        for axes, image, error in zip(cells, np.asarray(row), errors, strict=True):
            _show(axes, image)
            axes.set_xlabel(f"{error:.1f}", fontsize=CAPTION_SIZE, color=INK, labelpad=2)
    for axes, name in zip(grid[:, 0], ("original", *rows), strict=True):
        axes.set_ylabel(
            name, fontsize=LABEL_SIZE, color=INK, rotation=0, ha="right", va="center", labelpad=6
        )
    return figure


def _show(axes: Axes, image: np.ndarray) -> None:
    draw_pixels(axes, image)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
