"""Scores of every class, as bars with a table."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from cnn_jax.visual.style import INK, PALETTE, TICK_SIZE, new_figure, plain_axes

_BARS = 5.5  # width of the names and bars, in inches
_COLUMN = 0.75
_ROW = 0.3


def class_scores(
    class_names: Sequence[str],
    scores: Mapping[str, Sequence[float]],
    *,
    title: str,
    shares: Sequence[float] = (),
) -> Figure:
    """A bar for the first score of each class, and all scores beside it.

    Args:
        class_names: one for each class, drawn from top to bottom.
        scores: fractions of each class by the name of the score; NaN has none.
        title: names the data set, the split and the mean.
        shares: how often each class occurs, as a fraction; written beside its name. () writes none.

    Raises:
        ValueError: there is no class or score, or another number of values than of classes.
    """
    if not class_names or not scores:
        raise ValueError("nothing to draw: expected at least one class and one score")
    for name, values in scores.items():
        if len(values) != len(class_names):
            raise ValueError(f"{name!r} has {len(values)} values for {len(class_names)} classes")
    rows = np.arange(len(class_names))
    names = list(class_names)
    if len(shares):
        names = [f"{name} ({100 * share:.2g}%)" for name, share in zip(names, shares, strict=True)]
    table_width = _COLUMN * len(scores)
    figure = new_figure(_BARS + table_width, 1.0 + _ROW * len(names), title)
    axes, table = figure.subplots(1, 2, sharey=True, width_ratios=[_BARS, table_width])
    first = np.nan_to_num(np.asarray(next(iter(scores.values())), float))
    axes.barh(rows, first, height=0.7, color=PALETTE[0])
    for place, values in enumerate(scores.values()):
        for row, value in enumerate(values):
            text = "–" if np.isnan(value) else f"{100 * value:.1f}"
            table.text(place, row, text, ha="center", va="center", size=TICK_SIZE, color=INK)
    table.set_xlim(-0.5, len(scores) - 0.5)
    table.set_xticks(range(len(scores)), list(scores), fontsize=TICK_SIZE)
    table.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    table.tick_params(axis="y", left=False, labelleft=False)
    table.spines[:].set_visible(False)
    plain_axes(axes, xlabel=f"{next(iter(scores))} (%)")
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    axes.set_xlim(0, 1)
    axes.set_yticks(rows, names, fontsize=TICK_SIZE)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.yaxis.grid(False)
    axes.tick_params(axis="y", length=0)
    return figure
