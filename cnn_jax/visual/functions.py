"""Functions that a network learns: what it fits, and how the error falls with its size."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, ScalarFormatter

from cnn_jax.visual.style import (
    GRAY,
    INK,
    LABEL_SIZE,
    PALETTE,
    TICK_SIZE,
    AnyArray,
    new_figure,
    plain_axes,
)

_COLUMNS = 4
_PANEL = 2.6


def function_fits(
    x: Float[AnyArray, " points"],
    target: Float[AnyArray, " points"],
    fits: Mapping[str, Float[AnyArray, " points"]],
    *,
    title: str,
) -> Figure:
    """A function of one variable and each fit of it, a panel a fit.

    Args:
        x: where the functions are given, ascending.
        target: values of the function.
        fits: values of each fit, by its name.
        title: names the function and the split.

    Raises:
        ValueError: no fit, or one with another number of points.
    """
    x, target = np.asarray(x), np.asarray(target)
    values = _checked(target, fits)
    rows, columns = _rows_and_columns(len(values))
    figure = new_figure(_PANEL * columns, 0.8 * _PANEL * rows, title)
    low, high = target.min(), target.max()
    room = 0.25 * (high - low or 1.0)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for index, (name, fit) in enumerate(values.items()):
        axes = grid[index]
        axes.plot(x, target, color=GRAY, linewidth=2.5, label="function")
        axes.plot(x, fit, color=PALETTE[1], linewidth=1.3, label="fit")
        plain_axes(axes, xlabel="", ylabel="")
        axes.tick_params(labelbottom=index + columns >= len(values))
        # A fit far outside would flatten the function itself.
        axes.set_ylim(low - room, high + room)
        axes.set_title(_with_error(name, fit, target), fontsize=LABEL_SIZE, color=INK)
    for axes in grid[len(values) :]:
        axes.set_axis_off()
    grid[0].legend(fontsize=TICK_SIZE, frameon=False, loc="upper right")
    return figure


def function_maps(
    target: Float[AnyArray, "rows columns"],
    fits: Mapping[str, Float[AnyArray, "rows columns"]],
    extent: tuple[float, float, float, float],
    *,
    title: str,
) -> Figure:
    """A function of two variables and each fit of it as images with one scale of colours.

    Args:
        target: values of the function; rows are the second variable, ascending.
        fits: values of each fit, by its name.
        extent: least and largest first variable, least and largest second one.
        title: names the function and the split.

    Raises:
        ValueError: no fit, or one of another shape.
    """
    target = np.asarray(target)
    values = _checked(target, fits)
    rows, columns = _rows_and_columns(len(values) + 1)
    figure = new_figure(_PANEL * columns + 0.6, _PANEL * rows, title)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    panels = {"function": target} | {
        _with_error(name, fit, target): fit for name, fit in values.items()
    }
    largest = np.abs(target).max() or 1.0
    for index, (name, image) in enumerate(panels.items()):
        axes = grid[index]
        picture = axes.imshow(
            image,
            origin="lower",
            extent=extent,
            cmap="RdBu_r",
            vmin=-largest,
            vmax=largest,
            aspect="auto",
        )
        axes.tick_params(
            labelsize=TICK_SIZE, colors=INK, labelbottom=index + columns >= len(panels)
        )
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(4))
        axes.set_title(name, fontsize=LABEL_SIZE, color=INK)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    bar = figure.colorbar(picture, ax=list(grid), shrink=0.8, aspect=30)
    bar.ax.tick_params(labelsize=TICK_SIZE, colors=INK)
    return figure


def error_over_size(
    sizes: Sequence[int],
    errors: Mapping[str, Sequence[float]],
    *,
    xlabel: str,
    ylabel: str,
    title: str,
) -> Figure:
    """Errors over the size of a model, both logarithmic, a line for each name.

    Args:
        sizes: such as the number of neurons.
        errors: one a size, by what they are errors of.
        xlabel: what the size is.
        ylabel: what the error is.
        title: names the data set and the split.

    Raises:
        ValueError: no size, or another number of errors than sizes.
    """
    if not len(sizes):
        raise ValueError("nothing to draw: expected at least one size")
    figure = new_figure(6.5, 4.2, title)
    axes = figure.add_subplot()
    for index, (name, values) in enumerate(errors.items()):
        if len(values) != len(sizes):
            raise ValueError(f"{name!r} has {len(values)} errors for {len(sizes)} sizes")
        color = PALETTE[index % len(PALETTE)]
        axes.plot(sizes, values, color=color, linewidth=2.0, marker="o", markersize=5, label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(sizes)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    plain_axes(axes, xlabel=xlabel, ylabel=ylabel)
    if len(errors) > 1:
        axes.legend(fontsize=TICK_SIZE, frameon=False, loc="upper right")
    return figure


def _checked(target: np.ndarray, fits: Mapping[str, AnyArray]) -> dict[str, np.ndarray]:
    """The fits as arrays of the target's shape."""
    if not fits:
        raise ValueError("nothing to draw: expected at least one fit")
    values = {name: np.asarray(fit) for name, fit in fits.items()}
    for name, fit in values.items():
        if fit.shape != target.shape:
            raise ValueError(
                f"the fit {name!r} has shape {fit.shape}, the function {target.shape}: "
                "expected the same points"
            )
    return values


def _with_error(name: str, fit: np.ndarray, target: np.ndarray) -> str:
    return f"{name}: RMSE {np.sqrt(np.mean(np.square(fit - target))):.2g}"


def _rows_and_columns(count: int) -> tuple[int, int]:
    """Full rows where there is a way, of four panels at most."""
    rows = math.ceil(count / _COLUMNS)
    return rows, math.ceil(count / rows)
