"""Sheets of style transfer: pictures on their way, and their losses."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure

from cnn_jax.visual.pixels import draw_pixels
from cnn_jax.visual.sheet import Sheet, write_below
from cnn_jax.visual.style import CAPTION_SIZE, TICK_SIZE, color_of, plain_axes
from cnn_jax.visual.text import text_height, wrap_and_cut

_HEIGHT = 2.0  # of a picture, in inches
_GAP = 0.15
_MARGIN = 0.2
_CURVES = 2.4
_LABELS = 0.75  # beside and below the curves

Picture = UInt8[np.ndarray, "_height _width 3"]


def picture_rows(rows: Sequence[Mapping[str, Picture]], *, title: str) -> Figure:
    """Rows of pictures of any size, all of one height, with their names below.

    Args:
        rows: pictures by name; the names are wrapped to two lines.
        title: names the network.
    """
    sheet, _ = _rows_sheet(rows, title, 0.0)
    return sheet.figure


def transfer_sheet(
    rows: Sequence[Mapping[str, Picture]], history: Sequence[Mapping[str, float]], *, title: str
) -> Figure:
    """Rows of pictures as in `picture_rows`, and below them the losses over the iterations.

    Args:
        rows: such as content and styles, then the result after some iterations.
        history: rows with `iteration` and the weighted terms of the loss, of which those that are
            0 are left out.
        title: names the network.
    """
    sheet, (width, top) = _rows_sheet(rows, title, _CURVES + _LABELS)
    axes = sheet.axes(_LABELS, top, width - _LABELS, _CURVES)
    iterations = [row["iteration"] for row in history]
    names = dict.fromkeys(name for row in history for name in row if name != "iteration")
    for index, name in enumerate(names):
        values = np.array([row[name] for row in history])
        if (values > 0).any():
            shown = np.where(values > 0, values, np.nan)
            axes.plot(iterations, shown, label=name, color=color_of(index), linewidth=1.6)
    if axes.lines:
        axes.set_yscale("log")
        axes.legend(fontsize=TICK_SIZE, frameon=False)
    plain_axes(axes, xlabel="iteration", ylabel="loss, weighted")
    return sheet.figure


def _rows_sheet(
    rows: Sequence[Mapping[str, Picture]], title: str, below: float
) -> tuple[Sheet, tuple[float, float]]:
    """The sheet, its width and the place below the rows."""
    widths = [[_HEIGHT * p.shape[1] / p.shape[0] for p in row.values()] for row in rows]
    width = max(sum(row) + _GAP * (len(row) - 1) for row in widths)
    width = max(width, 6.0)
    step = _HEIGHT + text_height("x\nx", size=CAPTION_SIZE) + _GAP
    sheet = Sheet(width, step * len(rows) + below, title, margin=_MARGIN, gap=_GAP)
    for index, (row, sizes) in enumerate(zip(rows, widths, strict=True)):
        left = (width - sum(sizes) - _GAP * (len(sizes) - 1)) / 2
        for (name, picture), size in zip(row.items(), sizes, strict=True):
            axes: Any = sheet.axes(left, index * step, size, _HEIGHT)
            draw_pixels(axes, picture)
            axes.set_axis_off()
            write_below(axes, wrap_and_cut(name, width=size, size=CAPTION_SIZE, lines=2))
            left += size + _GAP
    return sheet, (width, step * len(rows))
