"""Functions that a network learns, beside the functions it should learn."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cnn_jax.visual.style import (
    GRAY,
    INK,
    LABEL_SIZE,
    PALETTE,
    TICK_SIZE,
    AnyArray,
    legend_outside,
    new_figure,
    panel_grid,
    plain_axes,
    shared_panels,
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
    """A function of one variable and its fits, one panel for each fit.

    Args:
        x: arguments of the functions, ascending.
        target: values of the function.
        fits: values of the fits by name.
        title: names the function and the split.

    Raises:
        ValueError: there is no fit, or a fit has a different number of points.
    """
    x, target = np.asarray(x), np.asarray(target)
    values = _checked(target, fits)
    rows, columns = panel_grid(len(values), _COLUMNS)
    figure = new_figure(_PANEL * columns, 0.8 * _PANEL * rows, title)
    low, high = target.min(), target.max()
    room = 0.25 * (high - low or 1.0)
    grid = shared_panels(figure, len(values), (rows, columns), xlabel="x", ylabel="f(x)")
    for axes, (name, fit) in zip(grid, values.items(), strict=True):
        axes.plot(x, target, color=GRAY, linewidth=3.5, label="function")
        axes.plot(x, fit, color=PALETTE[1], linewidth=1.3, label="fit")
        plain_axes(axes)
        # Distant values of a fit would flatten the function.
        axes.set_ylim(low - room, high + room)
        axes.set_title(_with_error(name, fit, target), fontsize=LABEL_SIZE, color=INK)
    legend_outside(figure, grid[0].get_lines(), "lower")
    return figure


def function_maps(
    target: Float[AnyArray, "rows columns"],
    fits: Mapping[str, Float[AnyArray, "rows columns"]],
    extent: tuple[float, float, float, float],
    *,
    title: str,
) -> Figure:
    """A function of two variables and its fits as images with a common colour scale.

    Args:
        target: values of the function; rows are the second variable, ascending.
        fits: values of the fits by name.
        extent: smallest and largest first variable, smallest and largest second variable.
        title: names the function and the split.

    Raises:
        ValueError: there is no fit, or a fit has another shape.
    """
    target = np.asarray(target)
    values = _checked(target, fits)
    rows, columns = panel_grid(len(values) + 1, _COLUMNS)
    figure = new_figure(_PANEL * columns + 0.6, _PANEL * rows, title)
    panels = {"function": target} | {
        _with_error(name, fit, target): fit for name, fit in values.items()
    }
    largest = np.abs(target).max() or 1.0
    grid = shared_panels(figure, len(panels), (rows, columns), xlabel="x", ylabel="y")
    for axes, (name, image) in zip(grid, panels.items(), strict=True):
        picture = axes.imshow(
            image,
            origin="lower",
            extent=extent,
            cmap="RdBu_r",
            vmin=-largest,
            vmax=largest,
            aspect="auto",
        )
        axes.tick_params(labelsize=TICK_SIZE, colors=INK)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(4))
        axes.set_title(name, fontsize=LABEL_SIZE, color=INK)
    bar = figure.colorbar(picture, ax=figure.axes, shrink=0.8, aspect=30)
    bar.set_label("f(x, y)", fontsize=LABEL_SIZE, color=INK)
    bar.ax.tick_params(labelsize=TICK_SIZE, colors=INK)
    return figure


def _checked(target: np.ndarray, fits: Mapping[str, AnyArray]) -> dict[str, np.ndarray]:
    """The fits as arrays, checked to have the shape of the target."""
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
