"""Accuracies of many runs of one configuration."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from cnn_jax.visual.style import GRAY, INK, LABEL_SIZE, color_of, new_figure, plain_axes


def accuracies_of_runs(
    accuracies: Mapping[str, Sequence[float]], *, target: float | None = None, title: str
) -> Figure:
    """A row of points for each name, one point per run, with mean and standard deviation.

    Args:
        accuracies: by name, a fraction for each run.
        target: accuracy drawn as a dashed line; None draws no line.
        title: names the data set and the split.

    Raises:
        ValueError: there is no name, or a name has no runs.
    """
    if not accuracies or not all(len(values) for values in accuracies.values()):
        raise ValueError("nothing to draw: expected at least one run for every name")
    figure = new_figure(6.5, 1.6 + 0.7 * len(accuracies), title)
    axes = figure.add_subplot()
    if target is not None:
        axes.axvline(100 * target, color=GRAY, linestyle="--", linewidth=1.0)
        axes.annotate(
            f"target {100 * target:g}",
            (100 * target, 1),
            xycoords=("data", "axes fraction"),
            ha="center",
            va="bottom",
            fontsize=LABEL_SIZE,
            color=GRAY,
        )
    for row, (name, fractions) in enumerate(accuracies.items()):
        values, color = 100 * np.asarray(fractions), color_of(row)
        # Equal accuracies are drawn above each other.
        order = [int(np.sum(values[:place] == value)) for place, value in enumerate(values)]
        axes.plot(values, row - 0.06 * np.array(order), "o", color=color, alpha=0.5, label=name)
        mean = values.mean()
        axes.plot([mean, mean], [row - 0.25, row + 0.25], color=color, linewidth=2.0)
        spread = f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else ""
        axes.annotate(
            f"{mean:.2f}{spread}",
            (mean, row + 0.27),
            xytext=(0, -2),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=LABEL_SIZE,
            color=INK,
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )
    plain_axes(axes, xlabel="accuracy (%)")
    axes.set_yticks(range(len(accuracies)), list(accuracies), fontsize=LABEL_SIZE)
    # The first name is at the top, and there is room for the last mean.
    axes.set_ylim(len(accuracies) - 0.3, -0.5)
    axes.grid(False, axis="y")
    axes.margins(x=0.1)
    return figure
