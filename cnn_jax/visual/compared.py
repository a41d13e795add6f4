"""Several runs in one figure: curves over the steps, and overfitting."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cnn_jax.visual.curves import FRACTIONS, PANELS, Rows, marker, read_curve, step_axes
from cnn_jax.visual.style import (
    GRAY,
    INK,
    PALETTE,
    TICK_SIZE,
    NothingToDraw,
    color_of,
    legend_outside,
    new_figure,
    plain_axes,
)

Quantity = Literal["loss", "accuracy", "mean_iou", "learning_rate", "grad_norm"]
# Limits the axis of a rate that goes to zero.
_RATE_DECADES = 4


def compared_curves(
    runs: Mapping[str, Rows], quantities: Sequence[Quantity], *, title: str
) -> Figure:
    """Curves of several runs over the steps, one panel for each quantity.

    Validation is bold and train dashed. Quantities of training alone, such as the learning rate,
    are bold. The axes of loss and accuracy leave out extreme values of the first steps.

    Args:
        runs: rows by the name of the run, see `training_curves`. Colours repeat after six runs.
        quantities: quantities from left to right; accuracies and mean IoUs are fractions.
        title: names the data set.

    Raises:
        NothingToDraw: a run has no value of a quantity.
        ValueError: there is no run or quantity.
    """
    if not runs or not quantities:
        raise ValueError("nothing to draw: expected at least one run and one quantity")
    figure = new_figure(max(4.2 * len(quantities), 7.5), 4.4, title)
    panels = figure.subplots(1, len(quantities), squeeze=False)[0]
    dashed = False
    for axes, quantity in zip(panels, quantities, strict=True):
        drawn = []
        for index, (name, history) in enumerate(runs.items()):
            there = {
                split: found
                for split in ("train", "validation")
                if (found := read_curve(history, split, quantity)) is not None
            }
            if not there:
                raise NothingToDraw(f"run {name!r} has no {quantity} on train or validation")
            for split, (steps, values) in there.items():
                thin = split == "train" and len(there) == 2
                dashed = dashed or thin
                values = 100 * values if quantity in FRACTIONS else values
                axes.plot(
                    steps,
                    values,
                    label=f"{name} {split}",
                    color=color_of(index),
                    linewidth=0.9 if thin else 2.0,
                    linestyle="--" if thin else "-",
                    marker="" if thin or quantity == "learning_rate" else marker(steps),
                    markersize=4,
                )
                drawn.append(values)
        step_axes(axes, ylabel=PANELS[quantity])
        _limit(axes, quantity, drawn)
    keys: list[tuple[str, dict[str, Any]]] = [
        (name, {"color": color_of(index)}) for index, name in enumerate(runs)
    ]
    if dashed:
        keys += [
            ("validation", {"color": GRAY}),
            ("train", {"color": GRAY, "linestyle": "--", "linewidth": 0.9}),
        ]
    handles = [Line2D([], [], label=name, **{"linewidth": 2.0} | look) for name, look in keys]
    legend_outside(figure, handles, "lower")
    return figure


def accuracy_gaps(
    accuracies: Mapping[str, tuple[float, float]], ends: tuple[str, str], *, title: str
) -> Figure:
    """Two accuracies of each run as points with a bar between them, to show overfitting.

    Args:
        accuracies: two fractions by the name of the run, drawn from top to bottom.
        ends: names of the two, such as ("train", "test"). The second value is also written.
        title: names the data set.

    Raises:
        ValueError: there is no run.
    """
    if not accuracies:
        raise ValueError("nothing to draw: expected at least one run")
    first, second = 100 * np.array(list(accuracies.values()), dtype=float).T
    rows = np.arange(len(accuracies))
    figure = new_figure(7.5, 0.42 * len(accuracies) + 1.1, title)
    axes = figure.add_subplot()
    axes.hlines(rows, first, second, color="#bbbbbb", linewidth=3, zorder=1)
    axes.scatter(first, rows, s=55, color=PALETTE[0], marker="s", label=ends[0], zorder=2)
    axes.scatter(second, rows, s=65, color=PALETTE[1], marker="o", label=ends[1], zorder=2)
    for row, value, other in zip(rows, second, first, strict=True):
        left = value <= other
        axes.annotate(
            f"{value:.1f}",
            (value, row),
            xytext=(-8 if left else 8, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            fontsize=TICK_SIZE,
            color=INK,
        )
    plain_axes(axes, xlabel="accuracy (%)")
    axes.margins(x=0.12)
    axes.set_yticks(rows, list(accuracies))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.yaxis.grid(False)
    legend_outside(figure, axes.get_legend_handles_labels()[0], "lower")
    return figure


def _limit(axes: Axes, quantity: str, curves: Sequence[np.ndarray]) -> None:
    """Set limits that suit the end of the training, not its first steps."""
    finite = [values[np.isfinite(values)] for values in curves]
    finite = [values for values in finite if len(values)]
    if not finite:
        return
    least, most = min(v.min() for v in finite), max(v.max() for v in finite)
    if quantity in FRACTIONS:
        worst_end = 100 - min(values[-1] for values in finite)
        axes.set_ylim(bottom=max(least - 1, 100 - 2.5 * worst_end))
    elif quantity == "loss":
        axes.set_ylim(bottom=0, top=min(1.05 * most, 2.5 * max(v[-1] for v in finite)) or None)
    elif quantity == "learning_rate" and most > 0:
        axes.set_yscale("log")
        axes.set_ylim(bottom=max(least, most / 10**_RATE_DECADES) / 2, top=2 * most)
