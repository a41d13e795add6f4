"""Images with the masks of their objects, one colour for each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnn_jax.visual.pixels import draw_pixels
from cnn_jax.visual.segmentations import class_colours, overlaid
from cnn_jax.visual.sheet import Sheet, write_below
from cnn_jax.visual.style import CAPTION_SIZE, LABEL_SIZE, AnyArray
from cnn_jax.visual.text import text_height, wrap_and_cut

_CELL_WIDTH = 1.6
_GAP = 0.08
_BETWEEN = 0.3  # between two images of a row
_MARGIN = 0.15
_CAPTION_LINES = 3
_COLUMNS = ("image", "truth", "prediction")

Masks = Bool[AnyArray, "n height width"]


@dataclass(frozen=True)
class InstanceImage:
    """An image, the masks of its objects, and the predicted ones.

    Attributes:
        image: uint8, gray or RGB.
        truths: whether a pixel belongs to each true object.
        predictions: the same for each predicted one; where they overlap, the first is on top.
        caption: written below the image, in at most three lines.
    """

    image: UInt8[AnyArray, "height width channels"]
    truths: Bool[AnyArray, "n height width"]
    predictions: Bool[AnyArray, "m height width"]
    caption: str = ""


def instance_rows(images: Sequence[InstanceImage], *, title: str, columns: int = 2) -> Figure:
    """For each image: the image, the true objects, and the predicted ones.

    All cells have the shape of the first image.

    Args:
        images: at least one, from left to right and top to bottom.
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
    head = text_height("image", size=LABEL_SIZE) + 0.04
    block = len(_COLUMNS) * (_CELL_WIDTH + _GAP) - _GAP + _BETWEEN
    width, rows = columns * block - _BETWEEN, -(-len(images) // columns)
    sheet = Sheet(width, head + rows * row_height - _GAP, title, margin=_MARGIN, gap=_GAP)
    for column in range(columns):
        for place, name in enumerate(_COLUMNS):
            left = column * block + place * (_CELL_WIDTH + _GAP)
            sheet.text(left, head - 0.04, name, va="bottom", size=LABEL_SIZE)
    for index, (one, caption) in enumerate(zip(images, captions, strict=True)):
        row, column = divmod(index, columns)
        for place, masks in enumerate((None, one.truths, one.predictions)):
            left = column * block + place * (_CELL_WIDTH + _GAP)
            axes = sheet.axes(left, head + row * row_height, _CELL_WIDTH, height)
            numbers = np.full(one.image.shape[:2], -1) if masks is None else numbered(masks)
            names = [str(number) for number in range(1 + max(0, int(numbers.max())))]
            draw_pixels(axes, overlaid(one.image, numbers, class_colours(names)))
            axes.set_axis_off()
            if masks is None:
                write_below(axes, caption)
            else:
                _outline(axes, numbers)
    return sheet.figure


def numbered(masks: Masks) -> Int[np.ndarray, "height width"]:
    """The number of the first mask that has each pixel; -1 where none has it."""
    masks = np.asarray(masks)
    if not len(masks):
        return np.full(masks.shape[1:], -1)
    return np.where(masks.any(axis=0), masks.argmax(axis=0), -1)


def _outline(axes: Axes, numbers: Int[np.ndarray, "height width"]) -> None:
    """A white line around each object."""
    height, width = numbers.shape
    places = np.arange(-1, width + 1), np.arange(-1, height + 1)
    for number in np.unique(numbers[numbers >= 0]):
        inside = np.pad(numbers == number, 1)
        axes.contour(*places, inside, levels=[0.5], colors=["white"], linewidths=0.5)
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
