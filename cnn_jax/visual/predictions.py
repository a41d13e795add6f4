"""Images with the likeliest classes of each as bars beside it."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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

_IMAGE_SIZE = 1.5
BARS_WIDTH = 2.4
_GAP = 0.12
_MARGIN = 0.2
# Smaller images are shown as the pixels they are, larger ones are resampled smoothly.
_PIXELS_UP_TO = 64


@dataclass(frozen=True)
class Prediction:
    """An image and what a classifier says of it.

    Attributes:
        image: one channel (gray) or three (RGB), of any size.
        name: written above; one too long for its place is cut.
        classes: names of the likeliest classes, the likeliest first.
        probabilities: of these classes.
    """

    image: UInt8[AnyArray, "height width channels"]
    name: str
    classes: Sequence[str]
    probabilities: Float[AnyArray, " classes"] | Sequence[float]


def prediction_sheet(predictions: Sequence[Prediction], *, title: str, columns: int = 2) -> Figure:
    """Images from left to right and top to bottom, each with a bar a class from 0 to 1.

    Args:
        predictions: what is drawn, in this order.
        title: names the network.
        columns: images in a row.

    Raises:
        ValueError: no prediction, one without classes or with another number of probabilities, or
            no column.
    """
    if not predictions or columns < 1:
        raise ValueError(
            f"expected at least one prediction and column, got {len(predictions)} and {columns}"
        )
    for one in predictions:
        if not len(one.classes) == len(one.probabilities) > 0:
            raise ValueError(
                f"{one.name} has {len(one.classes)} classes and {len(one.probabilities)} "
                "probabilities: expected at least one, and as many of each"
            )
    columns = min(columns, len(predictions))
    rows = -(-len(predictions) // columns)
    name_height = text_height("x", size=LABEL_SIZE)
    cell_width = _IMAGE_SIZE + _GAP + BARS_WIDTH
    cell_height = name_height + _IMAGE_SIZE
    figure_width = 2 * _MARGIN + columns * (cell_width + 2 * _GAP) - 2 * _GAP
    title = wrap(title, width=figure_width - 2 * _MARGIN, size=TITLE_SIZE)
    top = _MARGIN + text_height(title, size=TITLE_SIZE) + (_GAP if title else 0)
    figure_height = top + rows * (cell_height + _GAP) - _GAP + _MARGIN
    # Axes are placed by hand: a constrained layout of a hundred axes takes seconds.
    figure = Figure(figsize=(figure_width, figure_height), facecolor="white")

    def place(left: float, below_top: float, width: float, height: float) -> Axes:
        bottom = figure_height - below_top - height
        return figure.add_axes(
            (
                left / figure_width,
                bottom / figure_height,
                width / figure_width,
                height / figure_height,
            )
        )

    figure.text(
        0.5, 1 - _MARGIN / figure_height, title, ha="center", va="top", size=TITLE_SIZE, color=INK
    )
    for index, one in enumerate(predictions):
        row, column = divmod(index, columns)
        left = _MARGIN + column * (cell_width + 2 * _GAP)
        cell_top = top + row * (cell_height + _GAP)
        figure.text(
            left / figure_width,
            1 - cell_top / figure_height,
            cut(one.name, width=cell_width, size=LABEL_SIZE),
            ha="left",
            va="top",
            size=LABEL_SIZE,
            color=INK,
        )
        below = cell_top + name_height
        draw_image(place(left, below, _IMAGE_SIZE, _IMAGE_SIZE), np.asarray(one.image))
        bars = place(left + _IMAGE_SIZE + _GAP, below, BARS_WIDTH, _IMAGE_SIZE)
        draw_class_bars(bars, one.classes, np.asarray(one.probabilities))
    return figure


def draw_image(axes: Axes, image: np.ndarray) -> None:
    """An image, uint8 or in [0, 1], gray or RGB, as large as its place lets it be."""
    height, width, channels = image.shape
    axes.imshow(
        image[..., 0] if channels == 1 else image,
        cmap="gray",
        vmin=0,
        vmax=255 if image.dtype == np.uint8 else 1,
        interpolation="nearest" if max(height, width) <= _PIXELS_UP_TO else "antialiased",
    )
    # A picture that is no square lies at the upper left of its place.
    axes.set_anchor("NW")
    axes.set_axis_off()


def draw_class_bars(axes: Axes, classes: Sequence[str], probabilities: np.ndarray) -> None:
    """A bar a class with its name on it, in axes of `BARS_WIDTH` inches."""
    places = np.arange(len(classes))
    colors = [PALETTE[4] if place == 0 else "#cfe3ef" for place in places]
    axes.barh(places, probabilities, height=0.85, color=colors)
    axes.barh(places, 1 - probabilities, left=probabilities, height=0.85, color="#f4f4f4")
    for place, (name, probability) in enumerate(zip(classes, probabilities, strict=True)):
        # The names stand on the bars, which may be short.
        name = cut(name, width=BARS_WIDTH - 0.55, size=CAPTION_SIZE)
        for x, text, side in ((0.02, name, "left"), (0.98, f"{probability:.1%}", "right")):
            axes.text(x, place, text, ha=side, va="center", size=CAPTION_SIZE, color=INK)
    axes.set_xlim(0, 1)
    # Few classes leave their bars as high as five have them.
    axes.set_ylim(max(len(classes), 5) - 0.5, -0.5)
    axes.set_axis_off()


def cut(text: str, *, width: float, size: float) -> str:
    """The text, or as much of it as fits into one line, with an ellipsis."""
    # No font that one can read has more letters to the inch, and measuring many takes long.
    text = " ".join(text.split())[: int(50 * width)]
    if "\n" not in wrap(text, width=width, size=size):
        return text
    length = bisect_left(
        range(len(text)), True, key=lambda n: "\n" in wrap(text[:n] + "…", width=width, size=size)
    )
    return f"{text[: length - 1].rstrip()}…"
