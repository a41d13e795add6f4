"""Colours, sizes, titles and legends that all figures share."""

import math
from collections.abc import Sequence
from typing import Literal

import jax
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from cnn_jax.visual.text import text_height, wrap

AnyArray = np.ndarray | jax.Array

# Okabe and Ito's palette, which is distinguishable with any colour vision. Its yellow is too pale
# for lines, and its black is the colour of text.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
MARKERS = "osD^vP"

TITLE_SIZE = 12.0
LABEL_SIZE = 10.0
TICK_SIZE = 9.0
CAPTION_SIZE = 8.0
INK = "#222222"
GRAY = "#888888"

_PAD = 0.09  # around all axes, in inches
_RIM = 1.2  # of a line below another, in points on each side
_HIDDEN = 0.01  # a line hides one that it follows to this share of its range


class NothingToDraw(ValueError):
    """What a figure is to show has no values, as in a training of no steps."""


def color_of(index: int) -> str:
    """The colour of the line or bar of this index; colours repeat after six."""
    return PALETTE[index % len(PALETTE)]


def new_figure(width: float, height: float, title: str) -> Figure:
    """A figure with room for axes of `width` x `height` inches in total, below its title."""
    lines = wrap(title, width=width - 0.3, size=TITLE_SIZE)
    figure = Figure(
        figsize=(width, height + text_height(lines, size=TITLE_SIZE)),
        layout=ConstrainedLayoutEngine(w_pad=_PAD, h_pad=_PAD),
        facecolor="white",
    )
    if lines:
        figure.suptitle(lines, fontsize=TITLE_SIZE, color=INK)
    return figure


def panel_grid(count: int, most_columns: int) -> tuple[int, int]:
    """Rows and columns for this many panels, with rows as full as possible."""
    rows = math.ceil(count / most_columns)
    return rows, math.ceil(count / rows)


def shared_panels(
    figure: Figure, count: int, shape: tuple[int, int], *, xlabel: str = "", ylabel: str = ""
) -> list[Axes]:
    """Add this many panels with common axes, labelled at the left and below the lowest ones."""
    grid = figure.subplots(*shape, squeeze=False, sharex=True, sharey=True)
    for axes in grid[:, 0]:
        axes.set_ylabel(ylabel, fontsize=LABEL_SIZE, color=INK)
    for axes in grid.ravel()[:count][-shape[1] :]:
        axes.set_xlabel(xlabel, fontsize=LABEL_SIZE, color=INK)
        axes.tick_params(labelbottom=True)
    for axes in grid.ravel()[count:]:
        axes.set_axis_off()
    return list(grid.ravel()[:count])


def plain_axes(axes: Axes, *, xlabel: str = "", ylabel: str = "") -> None:
    """Label axes of curves, and give them a faint grid and no frame above and to the right.

    Lines that lie below others are widened, so that their rims can be seen.
    """
    if xlabel:
        axes.set_xlabel(xlabel, fontsize=LABEL_SIZE, color=INK)
    if ylabel:
        axes.set_ylabel(ylabel, fontsize=LABEL_SIZE, color=INK)
    axes.tick_params(labelsize=TICK_SIZE, colors=INK, which="both")
    axes.grid(True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    _widen_hidden(axes)


def _widen_hidden(axes: Axes) -> None:
    lines = sorted(axes.get_lines(), key=Line2D.get_zorder)
    # Logarithms of the values on logarithmic axes.
    points = [axes.transScale.transform(np.asarray(line.get_xydata(), float)) for line in lines]
    points = [place[np.isfinite(place).all(axis=1)] for place in points]
    for index in reversed(range(len(lines))):
        if not len(points[index]):
            continue
        x, y = points[index].T
        near = _HIDDEN * np.ptp(y)
        widths = [
            above.get_linewidth() + 2 * _RIM
            for above, other in zip(lines[index + 1 :], points[index + 1 :], strict=True)
            # Outside of the other line this is NaN, which is not near.
            if len(other)
            and np.all(
                np.abs(np.interp(x, other[:, 0], other[:, 1], left=np.nan, right=np.nan) - y)
                <= near
            )
        ]
        lines[index].set_linewidth(max([lines[index].get_linewidth(), *widths]))


def legend_outside(
    figure: Figure, handles: Sequence[Artist], side: Literal["lower", "right"], *, title: str = ""
) -> None:
    """Add a legend below the axes, in up to three columns, or to the right of them."""
    figure.legend(
        handles=handles,
        loc="outside lower center" if side == "lower" else "outside right center",
        ncols=min(len(handles), 3) if side == "lower" else 1,
        title=title or None,
        title_fontsize=TICK_SIZE,
        fontsize=TICK_SIZE,
        frameon=False,
    )
