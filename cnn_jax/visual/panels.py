"""A sheet of pictures of one image: what a network says of it, and why."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnn_jax.visual.predictions import (
    BARS_WIDTH,
    Prediction,
    cut,
    draw_class_bars,
    draw_image,
)
from cnn_jax.visual.style import (
    CAPTION_SIZE,
    INK,
    LABEL_SIZE,
    TITLE_SIZE,
    AnyArray,
    text_height,
    wrap,
)

_HEIGHT = 2.3  # of a picture, in inches
_WIDEST = 3.5
_GAP = 0.2
_MARGIN = 0.2
_BAR_WIDTH = 0.1  # of a colour bar, whose numbers need more
_BAR_ROOM = 0.75
_TITLE_LINES = 2
_OPACITY = 0.6


@dataclass(frozen=True)
class Panel:
    """One picture.

    Attributes:
        title: written above, in two lines at most.
        image: gray or RGB, uint8 or in [0, 1]. Under a map it is shown in gray.
        heat: a map that is laid over the image, as high and as wide.
        label: of the colour bar of `heat`: the quantity and its unit.
        from_zero: whether the colours begin at zero rather than at the map's least value.
    """

    title: str
    image: UInt8[AnyArray, "height width channels"] | Float[AnyArray, "height width channels"]
    heat: Float[AnyArray, "height width"] | None = None
    label: str = ""
    from_zero: bool = True


def panel_sheet(prediction: Prediction, rows: Sequence[Sequence[Panel]], *, title: str) -> Figure:
    """An image with its likeliest classes, and beside and below it rows of panels.

    Args:
        prediction: stands first in the first row.
        rows: what the first row goes on with, and the rows below it; rows without panels are left
            out.
        title: names the network and the image.
    """
    first, *others = [list(row) for row in rows] or [[]]
    others = [row for row in others if row]
    start = _width(prediction.image) + _GAP / 2 + BARS_WIDTH
    widths = [start + sum(_GAP + _room(panel) for panel in first)]
    widths += [sum(_GAP + _room(panel) for panel in row) - _GAP for row in others]
    figure_width = max(widths) + 2 * _MARGIN
    title = wrap(title, width=figure_width - 2 * _MARGIN, size=TITLE_SIZE)
    top = _MARGIN + text_height(title, size=TITLE_SIZE) + (_GAP / 2 if title else 0)
    head = text_height("x" + "\nx" * (_TITLE_LINES - 1), size=LABEL_SIZE)
    row_height = head + _HEIGHT + _GAP
    figure_height = top + (1 + len(others)) * row_height - _GAP + _MARGIN
    # Axes are placed by hand: those of pictures of different shapes are no grid.
    figure = Figure(figsize=(figure_width, figure_height), facecolor="white")
    figure.text(
        _MARGIN / figure_width,
        1 - _MARGIN / figure_height,
        title,
        ha="left",
        va="top",
        size=TITLE_SIZE,
        color=INK,
    )

    def place(left: float, row: int, width: float) -> Axes:
        bottom = figure_height - top - row * row_height - head - _HEIGHT
        return figure.add_axes(
            (
                left / figure_width,
                bottom / figure_height,
                width / figure_width,
                _HEIGHT / figure_height,
            )
        )

    left = _MARGIN
    axes = place(left, 0, _width(prediction.image))
    draw_image(axes, np.asarray(prediction.image))
    _write_above(axes, prediction.name, _width(prediction.image))
    left += _width(prediction.image) + _GAP / 2
    bars = place(left, 0, BARS_WIDTH)
    draw_class_bars(bars, prediction.classes, np.asarray(prediction.probabilities))
    left += BARS_WIDTH + _GAP
    for row, panels in enumerate([first, *others]):
        left = left if row == 0 else _MARGIN
        for panel in panels:
            width = _width(panel.image)
            axes = place(left, row, width)
            bar = None if panel.heat is None else place(left + width + 0.08, row, _BAR_WIDTH)
            _draw(axes, bar, panel)
            _write_above(axes, panel.title, _room(panel))
            left += _room(panel) + _GAP
    return figure


def signed_image(
    gradient: Float[AnyArray, "height width channels"], *, quantile: float = 0.999
) -> Float[np.ndarray, "height width channels"]:
    """Numbers of both signs as an image in [0, 1]: zero is middle gray.

    Args:
        gradient: such as one by an image.
        quantile: of the absolute values; the others are clipped, as a few leave all others gray.
    """
    gradient = np.asarray(gradient, np.float32)
    largest = float(np.quantile(np.abs(gradient), quantile)) or float(np.abs(gradient).max())
    return np.clip(0.5 + gradient / (2 * (largest or 1.0)), 0, 1)


def _width(image: AnyArray) -> float:
    height, width = image.shape[:2]
    return min(_HEIGHT * width / height, _WIDEST)


def _room(panel: Panel) -> float:
    return _width(panel.image) + (0 if panel.heat is None else _BAR_ROOM)


def _write_above(axes: Axes, text: str, width: float) -> None:
    lines = wrap(text, width=width, size=LABEL_SIZE).split("\n")
    if len(lines) > _TITLE_LINES:
        rest = " ".join(lines[_TITLE_LINES - 1 :])
        lines = [*lines[: _TITLE_LINES - 1], cut(rest, width=width, size=LABEL_SIZE)]
    axes.annotate(
        "\n".join(lines),
        (0, 1),
        xytext=(0, 2),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="left",
        va="bottom",
        size=LABEL_SIZE,
        color=INK,
    )


def _draw(axes: Axes, bar: Axes | None, panel: Panel) -> None:
    image = np.asarray(panel.image)
    if panel.heat is None or bar is None:
        draw_image(axes, image)
        return
    # Colours of the image's own would mix with the map's.
    draw_image(axes, np.mean(image, axis=-1, keepdims=True).astype(image.dtype))
    heat = np.asarray(panel.heat, np.float32)
    low, high = (0.0 if panel.from_zero else float(heat.min())), float(heat.max())
    shown = axes.imshow(
        heat, cmap="inferno", vmin=low, vmax=high if high > low else low + 1, alpha=_OPACITY
    )
    axes.set_anchor("NW")
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    # Else the powers of ten would stand above the bar, in the title.
    colors = figure.colorbar(shown, cax=bar, format="%.3g")
    colors.outline.set_visible(False)
    bar.tick_params(labelsize=CAPTION_SIZE, colors=INK, length=2)
    bar.locator_params(nbins=5)
    bar.set_ylabel(panel.label, size=CAPTION_SIZE, color=INK, labelpad=2)
