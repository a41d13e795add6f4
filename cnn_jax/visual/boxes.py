"""Images with true and predicted boxes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cnn_jax.visual.pixels import draw_pixels
from cnn_jax.visual.sheet import Sheet, write_below
from cnn_jax.visual.style import CAPTION_SIZE, LABEL_SIZE, PALETTE, AnyArray
from cnn_jax.visual.text import text_height, wrap_and_cut

TRUTH, PREDICTION = PALETTE[2], PALETTE[1]
_CELL_WIDTH = 1.6
_GAP = 0.14
_MARGIN = 0.15
_CAPTION_LINES = 3
_MANY = 12
"""Boxes of an image that are drawn with thinner lines, so that one still sees the objects."""


@dataclass(frozen=True)
class BoxedImage:
    """An image with boxes (x0, y0, x1, y1) in pixels.

    Attributes:
        image: uint8, gray or RGB.
        truths: the true boxes.
        predictions: the predicted boxes.
        caption: written below the image, in at most three lines.
    """

    image: UInt8[AnyArray, "height width channels"]
    truths: Float[AnyArray, "n 4"]
    predictions: Float[AnyArray, "m 4"]
    caption: str = ""


def box_grid(images: Sequence[BoxedImage], *, title: str, columns: int = 6) -> Figure:
    """Images from left to right and top to bottom: true boxes solid, predicted ones dashed.

    All cells have the shape of the first image.

    Args:
        images: at least one.
        title: names the data set and the split.
        columns: images per row.

    Raises:
        ValueError: there is no image or column.
    """
    if not images or columns < 1:
        raise ValueError(f"expected at least one image and column, got {len(images)} and {columns}")
    columns = min(columns, len(images))
    captions = [
        wrap_and_cut(one.caption, width=_CELL_WIDTH, size=CAPTION_SIZE, lines=_CAPTION_LINES)
        for one in images
    ]
    height = _CELL_WIDTH * images[0].image.shape[0] / images[0].image.shape[1]
    row_height = height + max(text_height(one, size=CAPTION_SIZE) for one in captions) + _GAP
    legend = text_height("x", size=LABEL_SIZE) + _GAP / 2
    rows, grid_width = -(-len(images) // columns), columns * (_CELL_WIDTH + _GAP) - _GAP
    width = max(grid_width, 4.0)
    sheet = Sheet(width, legend + rows * row_height - _GAP, title, margin=_MARGIN, gap=_GAP)
    start = (width - grid_width) / 2
    for index, (one, caption) in enumerate(zip(images, captions, strict=True)):
        row, column = divmod(index, columns)
        left = start + column * (_CELL_WIDTH + _GAP)
        axes = sheet.axes(left, legend + row * row_height, _CELL_WIDTH, height)
        draw_pixels(axes, np.asarray(one.image))
        thinness = 2.0 if len(one.truths) + len(one.predictions) >= _MANY else 1.0
        _draw_boxes(axes, one.truths, TRUTH, "solid", thinness)
        _draw_boxes(axes, one.predictions, PREDICTION, "dashed", thinness)
        axes.set_axis_off()
        write_below(axes, caption)
    for left, text, style, color in (
        (start, "truth", "solid", TRUTH),
        (start + 1.2, "prediction", "dashed", PREDICTION),
    ):
        line = sheet.axes(left, 0.02, 0.3, 0.1)
        line.plot([0, 1], [0, 0], color=color, linestyle=style, linewidth=2)
        line.set_axis_off()
        sheet.text(left + 0.38, 0.0, text, va="top", size=LABEL_SIZE)
    return sheet.figure


def _draw_boxes(
    axes: Axes, boxes: Float[AnyArray, "n 4"], color: str, style: str, thinness: float
) -> None:
    for x0, y0, x1, y1 in np.asarray(boxes).tolist():
        # The centre of the first pixel is at 0 in axes of an image, and at 1/2 in boxes.
        corner = x0 - 0.5, y0 - 0.5
        for line, width in (("white", 3.0), (color, 1.6)):
            axes.add_patch(
                Rectangle(
                    corner,
                    x1 - x0,
                    y1 - y0,
                    fill=False,
                    edgecolor=line,
                    linewidth=width / thinness,
                    linestyle="solid" if line == "white" else style,
                )
            )
