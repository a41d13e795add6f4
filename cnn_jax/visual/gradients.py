"""Gradients by layer: where they vanish on their way back."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cnn_jax.visual.style import (
    INK,
    LABEL_SIZE,
    PALETTE,
    TICK_SIZE,
    AnyArray,
    new_figure,
    plain_axes,
)

_MARKERS = "osD^vP"
_COLUMNS = 5


def gradients_by_layer(
    moments: Mapping[str, Mapping[str, Float[AnyArray, " layers"]]], *, title: str
) -> Figure:
    """The norm of the gradient over the layers, on a logarithmic axis.

    Args:
        moments: by the name of a moment of the training, a panel each, the norms of the same runs
            by name, from the first layer to the last. A norm of 0 is left out.
        title: names the data set.

    Raises:
        ValueError: no moment.
    """
    if not moments:
        raise ValueError("nothing to draw: expected at least one moment")
    rows = math.ceil(len(moments) / 2)
    columns = math.ceil(len(moments) / rows)
    figure = new_figure(4.2 * columns + 1.2, 3.4 * rows, title)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes, (moment, runs) in zip(panels.ravel(), moments.items(), strict=False):
        for index, (name, norms) in enumerate(runs.items()):
            norms = _positive(norms)
            axes.plot(
                np.arange(1, len(norms) + 1),
                norms,
                label=name,
                color=PALETTE[index % len(PALETTE)],
                marker=_MARKERS[index % len(_MARKERS)],
                markersize=4.5,
                linewidth=1.6,
            )
        axes.set_yscale("log")
        plain_axes(axes, xlabel="", ylabel="")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(moment, fontsize=LABEL_SIZE, color=INK)
    for axes in panels.ravel()[len(moments) :]:
        axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set_ylabel("gradient norm", fontsize=LABEL_SIZE, color=INK)
    for axes in panels[-1]:
        axes.set_xlabel("layer, from input to output", fontsize=LABEL_SIZE, color=INK)
    figure.legend(
        *panels[0, 0].get_legend_handles_labels(),
        loc="outside right center",
        fontsize=TICK_SIZE,
        frameon=False,
    )
    return figure


def gradients_over_training(
    runs: Mapping[str, tuple[Sequence[int], Float[AnyArray, "times layers"]]], *, title: str
) -> Figure:
    """The norm of each layer's gradient over the steps, as colour, a panel a run.

    Args:
        runs: by name, ascending steps and the norms of every layer there, from the first layer to
            the last. All have one scale of colours. A norm of 0 is white.
        title: names the data set.

    Raises:
        ValueError: no run, or another number of steps than of rows of norms.
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

    rows = math.ceil(len(runs) / _COLUMNS)
    columns = math.ceil(len(runs) / rows)
    figure = new_figure(max(2.2 * columns + 1.0, 4.5), 2.1 * rows, title)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes, (name, (steps, _)) in zip(panels.ravel(), runs.items(), strict=False):
        # Each column is the mean over the steps up to its own.
        edges = np.concatenate([[0], np.asarray(steps, float)])
        layers = np.arange(norms[name].shape[1] + 1) + 0.5
        picture = axes.pcolormesh(edges, layers, norms[name].T, norm=scale, cmap="viridis")
        axes.tick_params(labelsize=TICK_SIZE, colors=INK)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_title(name, fontsize=LABEL_SIZE, color=INK)
    for axes in panels.ravel()[len(runs) :]:
        axes.set_axis_off()
    for axes in panels[:, 0]:
        axes.set_ylabel("layer", fontsize=LABEL_SIZE, color=INK)
    for axes in panels[-1]:
        axes.set_xlabel("step", fontsize=LABEL_SIZE, color=INK)
    bar = figure.colorbar(picture, ax=list(panels.ravel()), aspect=30)
    bar.set_label("gradient norm", fontsize=LABEL_SIZE, color=INK)
    bar.ax.tick_params(labelsize=TICK_SIZE, colors=INK)
    return figure


def _positive(norms: AnyArray) -> np.ndarray:
    """What a logarithm can show: everything else is left out."""
    norms = np.asarray(norms, dtype=np.float64)
    return np.where(np.isfinite(norms) & (norms > 0), norms, np.nan)
