"""Accuracy over the number of examples that were learned from."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from cnn_jax.visual.style import CAPTION_SIZE, PALETTE, TICK_SIZE, new_figure, plain_axes

_MARKERS = "osD^vP"


def learning_curve(
    examples: Sequence[int],
    accuracies: Mapping[str, Sequence[float]],
    *,
    xlabel: str,
    title: str,
) -> Figure:
    """Accuracy over the number of training examples, on a logarithmic axis, a line for each name.

    Args:
        examples: numbers of training examples.
        accuracies: fractions, one a number of examples, by what they are accuracies of.
        xlabel: what was counted.
        title: names the data set and the split.

    Raises:
        ValueError: no number of examples, or another number of accuracies.
    """
    if not len(examples):
        raise ValueError("nothing to draw: expected at least one number of examples")
    for name, fractions in accuracies.items():
        if len(fractions) != len(examples):
            raise ValueError(
                f"{name!r} has {len(fractions)} accuracies for {len(examples)} numbers of examples"
            )
    figure = new_figure(6.5, 4.4, title)
    axes = figure.add_subplot()
    lines = [(name, 100 * np.asarray(fractions)) for name, fractions in accuracies.items()]
    for index, (name, values) in enumerate(lines):
        color = PALETTE[index % len(PALETTE)]
        marker = _MARKERS[index % len(_MARKERS)]
        axes.plot(
            examples, values, label=name, color=color, marker=marker, markersize=5, linewidth=2.0
        )
        for place, number in enumerate(examples):
            # The best value stands above its point, the others below theirs.
            best = index == int(np.argmax([other[place] for _, other in lines]))
            axes.annotate(
                f"{values[place]:.1f}",
                (number, values[place]),
                xytext=(0, 7 if best else -7),
                textcoords="offset points",
                ha="center",
                va="bottom" if best else "top",
                fontsize=CAPTION_SIZE,
                color=color,
            )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(examples)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    plain_axes(axes, xlabel=xlabel, ylabel="accuracy (%)")
    axes.margins(x=0.08, y=0.12)
    if len(lines) > 1:
        axes.legend(fontsize=TICK_SIZE, frameon=False, loc="lower right")
    return figure
