"""The curves and final metrics of several learning rates."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from cnn_jax.visual.curves import PANELS, Rows, marker, read_curve, step_axes
from cnn_jax.visual.style import (
    GRAY,
    INK,
    LABEL_SIZE,
    legend_outside,
    new_figure,
    plain_axes,
)


def learning_rate_curves(
    runs: Mapping[float, Rows],
    ends: Mapping[float, float | None],
    chosen: float,
    *,
    metric: str,
    title: str,
) -> Figure:
    """Training loss and validation metric over the steps, and the final metric over the rate.

    Lines go from dark to bright with the rate, and the chosen rate is bold. Accuracies are drawn as
    errors. Axes are logarithmic where failed rates would flatten the others. Losses far above the
    initial ones are left out.

    Args:
        runs: rows by learning rate, see `training_curves`.
        ends: final validation metric by learning rate; None if the run diverged.
        chosen: one of the learning rates.
        metric: name of the validation metric; accuracies are fractions.
        title: names the data set.

    Raises:
        ValueError: there is no rate, `runs` and `ends` differ in rates, or `chosen` is not one of
            them.
    """
    if not runs or runs.keys() != ends.keys() or chosen not in runs:
        raise ValueError(
            f"expected runs and ends of the same rates, including the chosen one, got "
            f"{sorted(runs)}, {sorted(ends)} and {chosen}"
        )
    rates = sorted(runs)
    shades = np.linspace(0, 0.92, len(rates)) if len(rates) > 1 else [0.0]
    colors = dict(zip(rates, colormaps["viridis"](shades), strict=True))
    figure = new_figure(13.2, 4.2, title)
    losses, metrics, over_rate = figure.subplots(1, 3)
    label = f"validation {PANELS.get(metric, metric)}"
    if metric == "accuracy":
        label = "validation error (%)"

    def shown(values: Any) -> np.ndarray:
        values = np.asarray(values)
        return np.asarray(100 * (1 - values)) if metric == "accuracy" else values

    first_losses, drawn_losses, drawn_metrics = [], [], []
    for rate in rates:
        bold = rate == chosen
        style = {
            "color": colors[rate],
            "linewidth": 2.6 if bold else 1.3,
            "zorder": 3 if bold else 2,
            "linestyle": "-" if ends[rate] is not None else ":",
            "markersize": 4,
        }
        if (loss := read_curve(runs[rate], "train", "loss")) is not None:
            losses.plot(*loss, marker=marker(loss[0]), **style)
            first_losses.append(loss[1][0])
            drawn_losses.append(loss[1])
        if (curve := read_curve(runs[rate], "validation", metric)) is not None:
            metrics.plot(curve[0], shown(curve[1]), marker=marker(curve[0]), **style)
            drawn_metrics.append(shown(curve[1]))
    step_axes(losses, ylabel="training loss")
    step_axes(metrics, ylabel=label)
    if drawn_losses:
        # If the rate is too high, the first losses are many times the others.
        _fit_axis(losses, drawn_losses, top=1.5 * float(np.median(first_losses)))
    _fit_axis(metrics, drawn_metrics)

    finite = {rate: end for rate in rates if (end := ends[rate]) is not None and math.isfinite(end)}
    ends_shown = shown(list(finite.values()))
    over_rate.plot(list(finite), ends_shown, color=GRAY, linewidth=1.0, zorder=1)
    for rate in rates:
        if rate in finite:
            size = 110 if rate == chosen else 36
            over_rate.scatter(rate, shown(finite[rate]), s=size, color=colors[rate], zorder=2)
        else:
            over_rate.axvline(rate, color=colors[rate], linestyle=":", linewidth=1.3)
    over_rate.set_xscale("log")
    plain_axes(over_rate, xlabel="learning rate", ylabel=label)
    _fit_axis(over_rate, [ends_shown])
    over_rate.set_title("at the end", fontsize=LABEL_SIZE, color=INK)

    handles = [
        Line2D(
            [],
            [],
            color=colors[rate],
            linewidth=2.6 if rate == chosen else 1.3,
            linestyle=":" if ends[rate] is None else "-",
            label=f"{rate:g}" + _remark(ends[rate], chosen=rate == chosen),
        )
        for rate in rates
    ]
    legend_outside(figure, handles, "right", title="learning rate")
    return figure


def _fit_axis(axes: Axes, curves: Sequence[np.ndarray], top: float = math.inf) -> None:
    """Show all values up to `top`; logarithmic if their ratio is larger than 3."""
    values = np.concatenate(curves) if curves else np.array([])
    values = values[np.isfinite(values) & (values <= top)]
    if not len(values):
        return
    low, high = float(values.min()), float(values.max())
    if 0 < 3 * low < high:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(low / 1.1, high * 1.1)
    else:
        room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
        axes.set_ylim(low - room, high + room)


def _remark(end: float | None, *, chosen: bool) -> str:
    if end is None:
        return " diverged"
    return " chosen" if chosen else ""
