"""A sheet of panels about one image: the prediction of a network and its reasons."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from scipy import ndimage

from cnn_jax.visual.predictions import BARS_WIDTH, Prediction, draw_class_bars, draw_image
from cnn_jax.visual.sheet import Sheet
from cnn_jax.visual.style import CAPTION_SIZE, GRAY, INK, LABEL_SIZE, AnyArray
from cnn_jax.visual.text import text_height, wrap_and_cut

_HEIGHT = 2.3  # of a picture, in inches
_WIDEST = 3.5
_GAP = 0.2
_MARGIN = 0.2
_BAR_WIDTH = 0.1  # of a colour bar without its numbers
_BAR_ROOM = 0.75
_TITLE_LINES = 2
# The outlines of an image over its heat map: in pixels of an image of this size, where it is steep.
_OUTLINE_SIZE = 300
_OUTLINE_SMOOTHING = 2.0
_OUTLINE_SHARE = 0.12


@dataclass(frozen=True)
class Panel:
    """An image, optionally with a heat map over it.

    Attributes:
        title: written above the image in at most two lines.
        image: gray or RGB, uint8 or in [0, 1]. Over a heat map only its outlines are drawn, in
            gray, so that the colours of the map are those of its colour bar.
        heat: heat map of the same size as the image.
        label: quantity and unit of `heat`, for its colour bar.
        from_zero: whether the colours start at zero or at the smallest value of the map.
    """

    title: str
    image: UInt8[AnyArray, "height width channels"] | Float[AnyArray, "height width channels"]
    heat: Float[AnyArray, "height width"] | None = None
    label: str = ""
    from_zero: bool = True


def panel_sheet(prediction: Prediction, rows: Sequence[Sequence[Panel]], *, title: str) -> Figure:
    """An image with its most probable classes, and rows of panels beside and below it.

    Args:
        prediction: first in the first row.
        rows: panels of the first row after the prediction, and of the rows below. Empty rows are
            left out.
        title: names the network and the image.
    """
    first, *others = [list(row) for row in rows] or [[]]
    others = [row for row in others if row]
    start = _width(prediction.image) + _GAP / 2 + BARS_WIDTH
    widths = [start + sum(_GAP + _room(panel) for panel in first)]
    widths += [sum(_GAP + _room(panel) for panel in row) - _GAP for row in others]
    head = text_height("x" + "\nx" * (_TITLE_LINES - 1), size=LABEL_SIZE)
    row_height = head + _HEIGHT + _GAP
    height = (1 + len(others)) * row_height - _GAP
    sheet = Sheet(max(widths), height, title, margin=_MARGIN, gap=_GAP / 2, align="left")

    def place(left: float, row: int, width: float) -> Axes:
        return sheet.axes(left, row * row_height + head, width, _HEIGHT)

    left = 0.0
    axes = place(left, 0, _width(prediction.image))
    draw_image(axes, np.asarray(prediction.image))
    _write_above(axes, prediction.name, _width(prediction.image))
    left += _width(prediction.image) + _GAP / 2
    bars = place(left, 0, BARS_WIDTH)
    draw_class_bars(bars, prediction.classes, np.asarray(prediction.probabilities))
    left += BARS_WIDTH + _GAP
    for row, panels in enumerate([first, *others]):
        left = left if row == 0 else 0.0
        for panel in panels:
            width = _width(panel.image)
            axes = place(left, row, width)
            bar = None if panel.heat is None else place(left + width + 0.08, row, _BAR_WIDTH)
            _draw(axes, bar, panel)
            _write_above(axes, panel.title, _room(panel))
            left += _room(panel) + _GAP
    return sheet.figure


def signed_image(
    gradient: Float[AnyArray, "height width channels"], *, quantile: float = 0.999
) -> Float[np.ndarray, "height width channels"]:
    """Positive and negative numbers as an image in [0, 1], with zero as middle gray.

    Args:
        gradient: for example a gradient with respect to an image.
        quantile: absolute values above this quantile are clipped. Otherwise a few large values
            would make all others gray.
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
    axes.annotate(
        wrap_and_cut(text, width=width, size=LABEL_SIZE, lines=_TITLE_LINES),
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
    heat = np.asarray(panel.heat, np.float32)
    low, high = (0.0 if panel.from_zero else float(heat.min())), float(heat.max())
    shown = axes.imshow(heat, cmap="inferno", vmin=low, vmax=high if high > low else low + 1)
    axes.imshow(_outlines(image), extent=shown.get_extent(), cmap=ListedColormap([GRAY]))
    axes.set_anchor("NW")
    axes.set_axis_off()
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    # Without this format, powers of ten would be written above the bar, in the title.
    colors = figure.colorbar(shown, cax=bar, format="%.3g")
    colors.outline.set_visible(False)
    bar.tick_params(labelsize=CAPTION_SIZE, colors=INK, length=2)
    bar.locator_params(nbins=5)
    bar.set_ylabel(panel.label, size=CAPTION_SIZE, color=INK, labelpad=2)


def _outlines(image: np.ndarray) -> np.ma.MaskedArray:
    """The strongest edges of an image, a line thin (Marr and Hildreth 1980); masked elsewhere."""
    gray = image.astype(np.float32).mean(axis=-1)
    zoom = _OUTLINE_SIZE / max(gray.shape)
    gray = ndimage.zoom(gray, zoom, order=1)
    smoothing = max(_OUTLINE_SMOOTHING, 0.6 * zoom)  # the pixels of a small image are no edges
    bent = ndimage.gaussian_laplace(gray, smoothing) > 0
    line = ndimage.maximum_filter(bent, 2) != ndimage.minimum_filter(bent, 2)
    steepness = ndimage.gaussian_gradient_magnitude(gray, smoothing)
    strong = steepness > np.quantile(steepness, 1 - _OUTLINE_SHARE)
    return np.ma.masked_array(np.zeros_like(gray), ~(line & strong))
