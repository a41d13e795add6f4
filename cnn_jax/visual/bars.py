"""Values of several methods as bars."""

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cnn_jax.visual.style import (
    INK,
    LABEL_SIZE,
    color_of,
    legend_outside,
    new_figure,
    plain_axes,
)


def grouped_bars(groups: Mapping[str, Mapping[str, float]], *, ylabel: str, title: str) -> Figure:
    """Groups of bars with their values above them.

    Args:
        groups: values by the name of the group and the name of the method. A method has the same
            colour in every group, and may be missing in some.
        ylabel: what the values are.
        title: names the data set and the split.

    Raises:
        ValueError: there is no group, or a group has no values.
    """
    if not groups or not all(groups.values()):
        raise ValueError("nothing to draw: expected groups with at least one value each")
    methods = list(dict.fromkeys(name for values in groups.values() for name in values))
    figure = new_figure(max(5.0, 1.2 + 1.1 * sum(map(len, groups.values()))), 4.0, title)
    axes = figure.add_subplot()
    colors = {name: color_of(index) for index, name in enumerate(methods)}
    largest = max(abs(value) for values in groups.values() for value in values.values())
    shown = "%.1f" if largest >= 10 else "%.4g"  # per cent in columns of equal decimals
    start, ticks = 0.0, []
    for values in groups.values():
        for place, (name, value) in enumerate(values.items()):
            bar = axes.bar(start + place, value, width=0.85, color=colors[name])
            axes.bar_label(bar, fmt=shown, padding=2, fontsize=LABEL_SIZE, color=INK)
        ticks.append(start + (len(values) - 1) / 2)
        start += len(values) + 0.8
    plain_axes(axes, ylabel=ylabel)
    axes.grid(False, axis="x")
    axes.margins(y=0.1)
    axes.set_xticks(ticks, list(groups), fontsize=LABEL_SIZE)
    axes.tick_params(axis="x", length=0)
    handles = [Patch(color=color, label=name) for name, color in colors.items()]
    legend_outside(figure, handles, "lower")
    return figure
