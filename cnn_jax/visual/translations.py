"""The change of features under translations of the image."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from cnn_jax.visual.style import (
    INK,
    LABEL_SIZE,
    PALETTE,
    color_of,
    legend_outside,
    new_figure,
    plain_axes,
)

_MARKERS = "os^Dv*"


def change_over_shift(
    shifts: Sequence[float],
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    title: str,
) -> Figure:
    """Relative changes of features over the shift of the image.

    Args:
        shifts: shifts in pixels, ascending.
        panels: by the name of the panel and of the features, a change for each shift. Features
            have the same colour in every panel, and may be missing in some.
        title: names the images.

    Raises:
        ValueError: there is no panel, a panel is empty, or the numbers of changes and shifts
            differ.
    """
    if not panels or not all(panels.values()):
        raise ValueError("nothing to draw: expected panels with at least one curve each")
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    looks: dict[str, dict[str, Any]] = {
        name: {
            "color": color_of(index),
            # Colours repeat after the palette, dashed.
            "linestyle": "-" if index < len(PALETTE) else "--",
            "marker": _MARKERS[index % len(_MARKERS)],
            "markersize": 5,
            "linewidth": 1.8,
        }
        for index, name in enumerate(names)
    }
    figure = new_figure(max(4.6 * len(panels), 7.0), 4.6, title)
    for axes, (panel, curves) in zip(
        figure.subplots(1, len(panels), squeeze=False, sharey=True)[0], panels.items(), strict=True
    ):
        for name, changes in curves.items():
            if len(changes) != len(shifts):
                raise ValueError(f"{name!r} has {len(changes)} changes for {len(shifts)} shifts")
            axes.plot(shifts, 100 * np.asarray(changes, dtype=float), **looks[name])
        plain_axes(axes, xlabel="shift of the image (pixels)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(panel, fontsize=LABEL_SIZE, color=INK)
    figure.axes[0].set_ylabel("relative change (%)", fontsize=LABEL_SIZE, color=INK)
    figure.axes[0].set_ylim(bottom=0)
    handles = [Line2D([], [], label=name, **look) for name, look in looks.items()]
    legend_outside(figure, handles, "lower")
    return figure
