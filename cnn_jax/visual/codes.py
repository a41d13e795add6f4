"""Two-dimensional codes as points in the plane."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from cnn_jax.visual.style import (
    CAPTION_SIZE,
    INK,
    LABEL_SIZE,
    TICK_SIZE,
    AnyArray,
    legend_outside,
    new_figure,
)
from cnn_jax.visual.text import text_height, text_width

_SIDE = 5.0
_NAMES_UP_TO = 20
_MOVES = 100


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
            for text, place in _apart(medians, (high - low) / _SIDE).items():
                axes.annotate(
                    text,
                    place,
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
    return figure


def _apart(
    places: Mapping[str, Float[np.ndarray, "2"]], inch: Float[np.ndarray, "2"]
) -> dict[str, np.ndarray]:
    """Move texts up and down until they do not overlap.

    `inch` is the length of about one inch in the units of each axis.
    """
    texts = list(places)
    x, y = (np.array(list(places.values())) / inch).T
    widths = [text_width(text, size=CAPTION_SIZE) for text in texts]
    height = text_height("x", size=CAPTION_SIZE)
    for _ in range(_MOVES):
        moved = False
        for first, second in combinations(np.argsort(y, kind="stable"), 2):
            beside = abs(x[first] - x[second]) > (widths[first] + widths[second] + height) / 2
            missing = height - (y[second] - y[first])
            if not beside and missing > 1e-3:
                y[first] -= missing / 2
                y[second] += missing / 2
                moved = True
        if not moved:
            break
    return {text: np.array([x[i], y[i]]) * inch for i, text in enumerate(texts)}
