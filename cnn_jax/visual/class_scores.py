"""Scores of every class, as bars with a table."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from cnn_jax.visual.style import INK, PALETTE, TICK_SIZE, new_figure, plain_axes

_ROW = 0.3
_COLUMN = 0.13  # of the width of the bars, for each column of the table


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
        shares: how often each class occurs, as a fraction; written below its name. () writes none.

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
        names = [f"{name} ({share:.2g}%)" for name, share in zip(names, _percent(shares))]
    figure = new_figure(8.0, 1.0 + _ROW * len(names), title)
    axes = figure.add_subplot()
    first = np.nan_to_num(np.asarray(next(iter(scores.values())), float))
    axes.barh(rows, first, height=0.7, color=PALETTE[0])
    for place, (name, values) in enumerate(scores.items()):
        at = 1.02 + _COLUMN * (place + 0.5)
        axes.text(at, -0.75, name, ha="center", va="bottom", size=TICK_SIZE, color=INK)
        for row, value in enumerate(values):
            text = "–" if np.isnan(value) else f"{100 * value:.1f}"
            axes.text(at, row, text, ha="center", va="center", size=TICK_SIZE, color=INK)
    plain_axes(axes, xlabel=f"{next(iter(scores))}")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlim(0, 1)
    axes.set_yticks(rows, names, fontsize=TICK_SIZE)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.yaxis.grid(False)
    axes.tick_params(axis="y", length=0)
    return figure


def _percent(shares: Sequence[float]) -> list[float]:
    return [100 * share for share in shares]
