"""Images with bars of their most probable classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnn_jax.visual.pixels import draw_pixels
from cnn_jax.visual.sheet import Sheet
from cnn_jax.visual.style import CAPTION_SIZE, INK, LABEL_SIZE, PALETTE, AnyArray
from cnn_jax.visual.text import cut, text_height

_IMAGE_SIZE = 1.5
BARS_WIDTH = 2.4
_GAP = 0.12
_MARGIN = 0.2


@dataclass(frozen=True)
class Prediction:
    """An image and the most probable classes of it.

    Attributes:
        image: gray or RGB, of any size.
        name: written above the image, cut to one line.
        classes: names of the most probable classes, in descending order.
        probabilities: probabilities of these classes.
    """

    image: UInt8[AnyArray, "height width channels"]
    name: str
    classes: Sequence[str]
    probabilities: Float[AnyArray, " classes"] | Sequence[float]


def prediction_sheet(predictions: Sequence[Prediction], *, title: str, columns: int = 2) -> Figure:
    """Images from left to right and top to bottom, each with a bar per class from 0 to 1.

    Args:
        predictions: images in this order.
        title: names the network.
        columns: images per row.

    Raises:
        ValueError: there is no prediction or column, or a prediction has no classes or a
            different number of probabilities.
    """
    if not predictions or columns < 1:
        raise ValueError(
            f"expected at least one prediction and column, got {len(predictions)} and {columns}"
        )
    for one in predictions:
        if not len(one.classes) == len(one.probabilities) > 0:
            raise ValueError(
                f"{one.name} has {len(one.classes)} classes and {len(one.probabilities)} "
                "probabilities: expected the same number of each, at least one"
            )
    columns = min(columns, len(predictions))
    rows = -(-len(predictions) // columns)
    name_height = text_height("x", size=LABEL_SIZE)
    cell_width = _IMAGE_SIZE + _GAP + BARS_WIDTH
    cell_height = name_height + _IMAGE_SIZE
    sheet = Sheet(
        columns * (cell_width + 2 * _GAP) - 2 * _GAP,
        rows * (cell_height + _GAP) - _GAP,
        title,
        margin=_MARGIN,
        gap=_GAP,
    )
    for index, one in enumerate(predictions):
        row, column = divmod(index, columns)
        left, top = column * (cell_width + 2 * _GAP), row * (cell_height + _GAP)
        name = cut(one.name, width=cell_width, size=LABEL_SIZE)
        sheet.text(left, top, name, va="top", size=LABEL_SIZE)
        below = top + name_height
        draw_image(sheet.axes(left, below, _IMAGE_SIZE, _IMAGE_SIZE), np.asarray(one.image))
        bars = sheet.axes(left + _IMAGE_SIZE + _GAP, below, BARS_WIDTH, _IMAGE_SIZE)
        draw_class_bars(bars, one.classes, np.asarray(one.probabilities))
    return sheet.figure


def draw_image(axes: Axes, image: np.ndarray) -> None:
    """Draw an image, as `draw_pixels` does, at the upper left of its axes."""
    draw_pixels(axes, image)
    axes.set_anchor("NW")
    axes.set_axis_off()


def draw_class_bars(axes: Axes, classes: Sequence[str], probabilities: np.ndarray) -> None:
    """Draw a bar per class with its name on it, in axes of `BARS_WIDTH` inches."""
    places = np.arange(len(classes))
    colors = [PALETTE[4] if place == 0 else "#cfe3ef" for place in places]
    axes.barh(places, probabilities, height=0.85, color=colors)
    axes.barh(places, 1 - probabilities, left=probabilities, height=0.85, color="#f4f4f4")
    for place, (name, probability) in enumerate(zip(classes, probabilities, strict=True)):
        name = cut(name, width=BARS_WIDTH - 0.55, size=CAPTION_SIZE)
        for x, text, side in ((0.02, name, "left"), (0.98, f"{probability:.1%}", "right")):
            axes.text(x, place, text, ha=side, va="center", size=CAPTION_SIZE, color=INK)
    axes.set_xlim(0, 1)
    # Bars have the same height for up to five classes.
    axes.set_ylim(max(len(classes), 5) - 0.5, -0.5)
    axes.set_axis_off()
