"""Named rows of images, with the boxes and the mask that belong to each drawn over it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cnn_jax.visual.style import (
    CAPTION_SIZE,
    INK,
    LABEL_SIZE,
    PALETTE,
    TITLE_SIZE,
    AnyArray,
    text_height,
    wrap,
)

_NAME_WIDTH = 1.9
_CELL_WIDTH = 1.5
_GAP = 0.08
_MARGIN = 0.15
_BOX, _MASK = PALETTE[5], PALETTE[4]
# Smaller images are shown as the pixels they are, larger ones are resampled smoothly.
_PIXELS_UP_TO = 64


@dataclass(frozen=True)
class Picture:
    """One image of a row, and what is drawn over and below it.

    Attributes:
        image: floating point in [0, 1] (what lies outside is clipped); one channel or three.
        boxes: (x0, y0, x1, y1) in pixels; those without area are left out.
        mask: classes; each but 0 is outlined.
        caption: a few words; long ones are wrapped.
    """

    image: Float[AnyArray, "height width channels"]
    boxes: Float[AnyArray, "n 4"] | None = None
    mask: Integer[AnyArray, "height width"] | None = None
    caption: str = ""


def example_rows(
    rows: Mapping[str, Sequence[Picture]], *, title: str, ignored: int = 255
) -> Figure:
    """A row of pictures for each name, all cells of the shape of the first picture.

    Args:
        rows: the pictures of each row by its name, which is written at the left.
        title: names the data set.
        ignored: the class of a mask's pixels that are not outlined either.

    Raises:
        ValueError: no row, or a row without a picture.
    """
    if not rows or not all(rows.values()):
        raise ValueError(
            "expected at least one row, and a picture in each, got "
            f"{ {name: len(row) for name, row in rows.items()} }"
        )
    height, width = next(iter(rows.values()))[0].image.shape[:2]
    cell_height = _CELL_WIDTH * height / width
    columns = max(len(row) for row in rows.values())
    figure_width = 2 * _MARGIN + _NAME_WIDTH + columns * (_CELL_WIDTH + _GAP)
    title = wrap(title, width=figure_width - 2 * _MARGIN, size=TITLE_SIZE)
    names = [wrap(name, width=_NAME_WIDTH - _GAP, size=LABEL_SIZE) for name in rows]
    top = _MARGIN + text_height(title, size=TITLE_SIZE) + (_GAP if title else 0)
    # A row is as high as its images with their captions, or as the lines of its name.
    heights = [
        max(
            cell_height + max(text_height(_caption(one), size=CAPTION_SIZE) for one in row),
            text_height(name, size=LABEL_SIZE),
        )
        + _GAP
        for name, row in zip(names, rows.values(), strict=True)
    ]
    tops = top + np.cumsum([0.0, *heights])
    figure_height = tops[-1] + _MARGIN
    # Axes are placed by hand: a constrained layout of a hundred axes takes seconds.
    figure = Figure(figsize=(figure_width, figure_height), facecolor="white")
    figure.text(
        0.5, 1 - _MARGIN / figure_height, title, ha="center", va="top", size=TITLE_SIZE, color=INK
    )
    for name, row, y in zip(names, rows.values(), tops, strict=False):
        middle = 1 - (y + cell_height / 2) / figure_height
        figure.text(
            _MARGIN / figure_width, middle, name, ha="left", va="center", size=LABEL_SIZE, color=INK
        )
        for column, picture in enumerate(row):
            x = _MARGIN + _NAME_WIDTH + column * (_CELL_WIDTH + _GAP)
            axes = figure.add_axes(
                (
                    x / figure_width,
                    1 - (y + cell_height) / figure_height,
                    _CELL_WIDTH / figure_width,
                    cell_height / figure_height,
                )
            )
            _draw(axes, picture, ignored)
    return figure


def _draw(axes: Axes, picture: Picture, ignored: int) -> None:
    pixels = np.clip(np.asarray(picture.image, np.float32), 0, 1)
    height, width, channels = pixels.shape
    axes.imshow(
        pixels[..., 0] if channels == 1 else pixels,
        cmap="gray",
        vmin=0,
        vmax=1,
        interpolation="nearest" if max(height, width) <= _PIXELS_UP_TO else "antialiased",
    )
    axes.set_axis_off()
    if picture.mask is not None:
        mask = np.asarray(picture.mask)
        for number in np.setdiff1d(mask, [0, ignored]):
            # Bordered by nothing, so that the outline closes at the image's border.
            inside = np.pad(mask == number, 1)
            places = np.arange(-1, width + 1), np.arange(-1, height + 1)
            axes.contour(*places, inside, levels=[0.5], colors=[_MASK], linewidths=1.0)
    # Matplotlib has the centre of the first pixel at 0, we have its corner there.
    for x0, y0, x1, y1 in np.asarray(picture.boxes if picture.boxes is not None else []):
        if x1 > x0 and y1 > y0:
            axes.add_patch(
                Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, ec=_BOX, lw=1.2)
            )
    # Contours widen the limits; an image of another shape keeps the cell.
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    axes.annotate(
        _caption(picture),
        (0.5, 0),
        xytext=(0, -2),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="center",
        va="top",
        size=CAPTION_SIZE,
        color=INK,
    )


def _caption(picture: Picture) -> str:
    return wrap(picture.caption, width=_CELL_WIDTH, size=CAPTION_SIZE)
