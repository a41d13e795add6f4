"""Gradient norms by layer, to show vanishing gradients."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cnn_jax.visual.style import (
    INK,
    LABEL_SIZE,
    MARKERS,
    TICK_SIZE,
    AnyArray,
    color_of,
    legend_outside,
    new_figure,
    panel_grid,
    plain_axes,
    shared_panels,
)

_COLUMNS = 5


def gradients_by_layer(
    moments: Mapping[str, Mapping[str, Float[AnyArray, " layers"]]], *, title: str
) -> Figure:
    """The gradient norm over the layers, on a logarithmic axis.

    Args:
        moments: one panel for each moment of the training, by name: norms by the name of the run,
            from the first layer to the last. Norms of 0 are left out.
        title: names the data set.

    Raises:
        ValueError: there is no moment.
    """
    if not moments:
        raise ValueError("nothing to draw: expected at least one moment")
    rows, columns = panel_grid(len(moments), 2)
    figure = new_figure(4.2 * columns + 1.2, 3.4 * rows, title)
    xlabel, ylabel = "layer, from input to output", "gradient norm"
    panels = shared_panels(figure, len(moments), (rows, columns), xlabel=xlabel, ylabel=ylabel)
    for axes, (moment, runs) in zip(panels, moments.items(), strict=True):
        for index, (name, norms) in enumerate(runs.items()):
            norms = _positive(norms)
            axes.plot(
                np.arange(1, len(norms) + 1),
                norms,
                label=name,
                color=color_of(index),
                marker=MARKERS[index % len(MARKERS)],
                markersize=4.5,
                linewidth=1.6,
            )
        axes.set_yscale("log")
        plain_axes(axes)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(moment, fontsize=LABEL_SIZE, color=INK)
    legend_outside(figure, panels[0].get_legend_handles_labels()[0], "right")
    return figure


def gradients_over_training(
    runs: Mapping[str, tuple[Sequence[int], Float[AnyArray, "times layers"]]], *, title: str
) -> Figure:
    """The gradient norm of each layer over the steps as colour, one panel for each run.

    Args:
        runs: by the name of the run, ascending steps and the norms at these steps, from the first
            layer to the last. All runs have one colour scale. Norms of 0 are white.
        title: names the data set.

    Raises:
        ValueError: there is no run, or the numbers of steps and rows of norms differ.
    """
    if not runs:
        raise ValueError("nothing to draw: expected at least one run")
    norms = {name: _positive(values) for name, (_, values) in runs.items()}
    for name, (steps, _) in runs.items():
        if norms[name].ndim != 2 or len(steps) != len(norms[name]):
            raise ValueError(
                f"run {name!r} has {len(steps)} steps and norms of shape {norms[name].shape}: "
                "expected [steps, layers]"
            )
    everything = np.concatenate([values.ravel() for values in norms.values()])
    everything = everything[np.isfinite(everything)]
    low, high = (everything.min(), everything.max()) if len(everything) else (1.0, 1.0)
    scale = LogNorm(low, high if high > low else 10 * low)

    rows, columns = panel_grid(len(runs), _COLUMNS)
    figure = new_figure(max(2.2 * columns + 1.0, 4.5), 2.1 * rows, title)
    panels = shared_panels(figure, len(runs), (rows, columns), xlabel="step", ylabel="layer")
    for axes, (name, (steps, _)) in zip(panels, runs.items(), strict=True):
        # A column is the mean over the steps since the previous one.
        edges = np.concatenate([[0], np.asarray(steps, float)])
        layers = np.arange(norms[name].shape[1] + 1) + 0.5
        picture = axes.pcolormesh(edges, layers, norms[name].T, norm=scale, cmap="viridis")
        axes.tick_params(labelsize=TICK_SIZE, colors=INK)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_title(name, fontsize=LABEL_SIZE, color=INK)
    bar = figure.colorbar(picture, ax=figure.axes, aspect=30)
    bar.set_label("gradient norm", fontsize=LABEL_SIZE, color=INK)
    bar.ax.tick_params(labelsize=TICK_SIZE, colors=INK)
    return figure


def _positive(norms: AnyArray) -> np.ndarray:
    """The norms with NaN for values that have no logarithm."""
    norms = np.asarray(norms, dtype=np.float64)
    return np.where(np.isfinite(norms) & (norms > 0), norms, np.nan)
