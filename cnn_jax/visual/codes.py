"""Two-dimensional codes as points in the plane."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from cnn_jax.visual.labels import move_apart
from cnn_jax.visual.style import (
    CAPTION_SIZE,
    INK,
    LABEL_SIZE,
    TICK_SIZE,
    AnyArray,
    legend_outside,
    new_figure,
)

_SIDE = 5.0
_NAMES_UP_TO = 20


def code_scatter(
    codes: Mapping[str, Float[AnyArray, "n 2"]],
    labels: Int[AnyArray, " n"],
    class_names: Sequence[str],
    *,
    title: str,
) -> Figure:
    """Codes of the same examples as points coloured by class, one panel for each encoder.

    The name of a class is written at the median of its points, moved where names would overlap.
    Axes show the middle 99% of the points. With more than 20 classes, colours repeat and names are
    left out.

    Args:
        codes: by the name of the encoder, two numbers for each example.
        labels: class of each example.
        class_names: one for each class.
        title: names the data set and the split.

    Raises:
        ValueError: there is nothing to draw, or codes have another shape.
    """
    if not codes or not len(labels):
        raise ValueError("nothing to draw: expected at least one code of at least one example")
    labels = np.asarray(labels)
    named = len(class_names) <= _NAMES_UP_TO
    colors = mpl.colormaps["tab10" if len(class_names) <= 10 else "tab20"]
    figure = new_figure(_SIDE * len(codes) + 1.2, _SIDE, title)
    # Few points are drawn larger than thousands.
    size = float(np.clip(20_000 / len(labels), 3, 20))
    panels = figure.subplots(1, len(codes), squeeze=False)[0]
    for axes, (name, points) in zip(panels, codes.items(), strict=True):
        points = np.asarray(points)
        if points.shape != (len(labels), 2):
            raise ValueError(
                f"the codes {name!r} have shape {points.shape}, expected {(len(labels), 2)}: two "
                "numbers for each label"
            )
        # One call for all points, so that no class is drawn on top of the others.
        axes.scatter(*points.T, s=size, c=colors(labels % colors.N), alpha=0.5, linewidths=0)
        low, high = np.quantile(points, (0.005, 0.995), axis=0)
        room = 0.06 * (high - low) + 1e-6
        low, high = low - room, high + room
        axes.set_xlim(low[0], high[0])
        axes.set_ylim(low[1], high[1])
        if named:
            medians = {
                class_names[index]: np.median(points[labels == index], axis=0)
                for index in np.unique(labels)
            }
            for text, place in medians.items():
                axes.annotate(
                    text,
                    place,
                    xytext=(0, 0),
                    textcoords="offset points",
                    ha="center",
                    va="center",
                    fontsize=CAPTION_SIZE,
                    color=INK,
                    path_effects=[withStroke(linewidth=2.5, foreground="white")],
                )
        axes.set_title(name, fontsize=LABEL_SIZE, color=INK)
        axes.set_xlabel("first number of the code", fontsize=LABEL_SIZE, color=INK)
        axes.tick_params(labelsize=TICK_SIZE, colors=INK)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("second number of the code", fontsize=LABEL_SIZE, color=INK)
    if not named:
        return figure
    handles = [
        Line2D([], [], color=colors(index), marker="o", linestyle="", markersize=5, label=name)
        for index, name in enumerate(class_names)
    ]
    legend_outside(figure, handles, "right")
    for axes in panels:
        move_apart(figure, axes)
    return figure
