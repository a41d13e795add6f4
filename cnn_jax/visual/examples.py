"""Named rows of images with their boxes and masks drawn over them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cnn_jax.visual.pixels import draw_pixels
from cnn_jax.visual.sheet import Sheet, write_below
from cnn_jax.visual.style import CAPTION_SIZE, LABEL_SIZE, PALETTE, AnyArray
from cnn_jax.visual.text import text_height, wrap

_NAME_WIDTH = 1.9
_CELL_WIDTH = 1.5
_GAP = 0.08
_MARGIN = 0.15
_BOX, _MASK = PALETTE[5], PALETTE[4]


@dataclass(frozen=True)
class Picture:
    """One image of a row, with what is drawn over and below it.

    Attributes:
        image: floating point, clipped to [0, 1]; gray or RGB.
        boxes: (x0, y0, x1, y1) in pixels. Boxes without area are not drawn.
        mask: class of each pixel. The outlines of all classes except 0 are drawn.
        caption: wrapped to the width of the image.
    """

    image: Float[AnyArray, "height width channels"]
    boxes: Float[AnyArray, "n 4"] | None = None
    mask: Integer[AnyArray, "height width"] | None = None
    caption: str = ""


def example_rows(
    rows: Mapping[str, Sequence[Picture]], *, title: str, ignored: int = 255
) -> Figure:
    """A row of pictures for each name. All cells have the shape of the first picture.

    Args:
        rows: pictures by the name of their row, which is written to the left of them.
        title: names the data set.
        ignored: another class of masks without an outline.

    Raises:
        ValueError: there is no row, or a row has no picture.
    """
    if not rows or not all(rows.values()):
        raise ValueError(
            "expected at least one row with at least one picture each, got "
            f"{ {name: len(row) for name, row in rows.items()} }"
        )
    height, width = next(iter(rows.values()))[0].image.shape[:2]
    cell_height = _CELL_WIDTH * height / width
    columns = max(len(row) for row in rows.values())
    names = [wrap(name, width=_NAME_WIDTH - _GAP, size=LABEL_SIZE) for name in rows]
    # The images with their captions, or the name, whichever is higher.
    heights = [
        max(
            cell_height + max(text_height(_caption(one), size=CAPTION_SIZE) for one in row),
            text_height(name, size=LABEL_SIZE),
        )
        + _GAP
        for name, row in zip(names, rows.values(), strict=True)
    ]
    tops = np.cumsum([0.0, *heights])
    sheet_width = _NAME_WIDTH + columns * (_CELL_WIDTH + _GAP)
    sheet = Sheet(sheet_width, tops[-1], title, margin=_MARGIN, gap=_GAP)
    for name, row, top in zip(names, rows.values(), tops, strict=False):
        sheet.text(0, top + cell_height / 2, name, va="center", size=LABEL_SIZE)
        for column, picture in enumerate(row):
            left = _NAME_WIDTH + column * (_CELL_WIDTH + _GAP)
            _draw(sheet.axes(left, top, _CELL_WIDTH, cell_height), picture, ignored)
    return sheet.figure


def _draw(axes: Axes, picture: Picture, ignored: int) -> None:
    image = np.asarray(picture.image)
    height, width, _ = image.shape
    draw_pixels(axes, image)
    axes.set_axis_off()
    if picture.mask is not None:
        mask = np.asarray(picture.mask)
        for number in np.setdiff1d(mask, [0, ignored]):
            # Padding closes the outline at the border of the image.
            inside = np.pad(mask == number, 1)
            places = np.arange(-1, width + 1), np.arange(-1, height + 1)
            axes.contour(*places, inside, levels=[0.5], colors=[_MASK], linewidths=1.0)
    # Boxes have the corner of the first pixel at 0, Matplotlib its centre.
    for x0, y0, x1, y1 in np.asarray(picture.boxes if picture.boxes is not None else []):
        if x1 > x0 and y1 > y0:
            axes.add_patch(
                Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, ec=_BOX, lw=1.2)
            )
    # Contours widen the limits.
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    write_below(axes, _caption(picture))


def _caption(picture: Picture) -> str:
    return wrap(picture.caption, width=_CELL_WIDTH, size=CAPTION_SIZE)
