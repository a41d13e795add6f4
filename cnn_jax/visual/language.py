"""Figures about language models: losses, gradients through time, and what a network writes."""

import textwrap
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cnn_jax.visual.curves import Rows, marker, read_curve, step_axes
from cnn_jax.visual.style import (
    CAPTION_SIZE,
    GRAY,
    INK,
    TICK_SIZE,
    AnyArray,
    NothingToDraw,
    color_of,
    new_figure,
    plain_axes,
)

COLUMNS, LINES = 100, 40
"""Characters of a line and lines of a text."""
_LINE = 0.16  # inches


def loss_curves(runs: Mapping[str, Rows], *, ylabel: str, title: str) -> Figure:
    """The loss of several runs on the validation split over the steps, one line each.

    Args:
        runs: rows of `metrics.csv` by the name of the run, see `training_curves`.
        ylabel: the loss and its unit.
        title: names the data set.

    Raises:
        NothingToDraw: no run has a loss on its validation split.
    """
    curves = {name: read_curve(rows, "validation", "loss") for name, rows in runs.items()}
    figure = new_figure(7, 4.2, title)
    axes = figure.add_subplot()
    for index, (name, curve) in enumerate(curves.items()):
        if curve is not None:
            label = f"{name}, {curve[1].min():.3f} at best"
            axes.plot(
                *curve,
                label=label,
                color=color_of(index),
                linewidth=1.8,
                marker=marker(curve[0]),
                markersize=3.5,
            )
    if not axes.lines:
        raise NothingToDraw(f"none of the runs {', '.join(runs)} has a validation loss")
    step_axes(axes, ylabel=ylabel)
    axes.legend(fontsize=TICK_SIZE, frameon=False)
    return figure


def gradients_through_time(norms: Mapping[str, Float[AnyArray, " steps"]], *, title: str) -> Figure:
    """How far back the gradient of a prediction reaches, relative to that by the last input.

    Args:
        norms: by the name of the network, the norm of the gradient by each input, the last one
            first. Norms of 0 are left out.
        title: names the data set.

    Raises:
        NothingToDraw: a network has no gradient by its last input.
    """
    figure = new_figure(7, 4.2, title)
    axes = figure.add_subplot()
    for index, (name, values) in enumerate(norms.items()):
        values = np.asarray(values, float)
        if not len(values) or not 0 < values[0] < np.inf:
            raise NothingToDraw(f"the network {name!r} has no gradient by its last input")
        relative = np.where(values > 0, values, np.nan) / values[0]
        axes.plot(
            np.arange(len(values)), relative, label=name, color=color_of(index), linewidth=1.8
        )
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    plain_axes(axes, xlabel="steps before the prediction", ylabel="gradient norm, of the last = 1")
    if len(norms) > 1:
        axes.legend(fontsize=TICK_SIZE, frameon=False)
    return figure


def text_sheet(prompt: str, text: str, *, title: str) -> Figure:
    """A text that goes on with a prompt, which is gray.

    Lines longer than `COLUMNS` characters are broken, and at most `LINES` of each are drawn.
    """
    parts = [(_lines(prompt)[-LINES:], GRAY), (_lines(text)[:LINES], INK)]
    count = sum(len(lines) for lines, _ in parts)
    figure = new_figure(8.6, _LINE * (count + 1), title)
    axes = figure.add_subplot()
    axes.set_axis_off()
    row = 0
    for lines, color in parts:
        for line in lines:
            axes.text(
                0,
                1 - row / (count + 1),
                line,
                family="monospace",
                fontsize=CAPTION_SIZE,
                color=color,
                va="top",
                transform=axes.transAxes,
                parse_math=False,
            )
            row += 1
    return figure


def _lines(text: str) -> list[str]:
    """The lines of a text, broken; what cannot be seen is a replacement character."""
    visible = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text.expandtabs(4))
    return [
        part
        for line in visible.split("\n")
        for part in textwrap.wrap(line, COLUMNS, drop_whitespace=False) or [""]
    ]
