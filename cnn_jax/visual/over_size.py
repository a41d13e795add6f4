"""Quantities over a size: of the data, the batch or the model."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from cnn_jax.visual.labels import move_apart
from cnn_jax.visual.style import (
    CAPTION_SIZE,
    MARKERS,
    TICK_SIZE,
    color_of,
    new_figure,
    plain_axes,
)


def learning_curve(
    examples: Sequence[int],
    accuracies: Mapping[str, Sequence[float]],
    *,
    xlabel: str,
    title: str,
) -> Figure:
    """Accuracy over the number of training examples, one line for each name.

    Args:
        examples: numbers of training examples.
        accuracies: by name, a fraction for each number of examples.
        xlabel: what is counted.
        title: names the data set and the split.

    Raises:
        ValueError: there is no size, or a different number of accuracies than of sizes.
    """
    percent = {name: 100 * np.asarray(fractions, float) for name, fractions in accuracies.items()}
    figure, axes = _over_size(examples, percent, height=4.4, title=title, markers=MARKERS)
    lines = list(percent.values())
    for index, values in enumerate(lines):
        for place, number in enumerate(examples):
            # The best value is written above its point, the others below theirs.
            above = index == int(np.argmax([other[place] for other in lines]))
            axes.annotate(
                f"{values[place]:.1f}",
                (number, values[place]),
                xytext=(0, 7 if above else -7),
                textcoords="offset points",
                ha="center",
                va="bottom" if above else "top",
                fontsize=CAPTION_SIZE,
                color=color_of(index),
            )
    plain_axes(axes, xlabel=xlabel, ylabel="accuracy (%)")
    axes.margins(x=0.08, y=0.12)
    if len(lines) > 1:
        axes.legend(fontsize=TICK_SIZE, frameon=False, loc="best")
    move_apart(figure, axes)
    return figure


def accuracy_over_batch_size(
    batch_sizes: Sequence[int], accuracies: Mapping[str, Sequence[float]], *, title: str
) -> Figure:
    """Accuracy over the batch size, one line for each name.

    Args:
        batch_sizes: examples per step.
        accuracies: by name, a fraction for each batch size.
        title: names the data set and the split.

    Raises:
        ValueError: there is no size, or a different number of accuracies than of sizes.
    """
    return _percent_over_powers_of_two(
        batch_sizes, accuracies, xlabel="batch size", ylabel="accuracy (%)", title=title
    )


def accuracy_over_distance(
    distances: Sequence[int], accuracies: Mapping[str, Sequence[float]], *, title: str
) -> Figure:
    """Accuracy of the pixels up to a distance from a border, one line for each name.

    Args:
        distances: in pixels.
        accuracies: by name, a fraction for each distance.
        title: names the data set and the split.

    Raises:
        ValueError: there is no distance, or a different number of accuracies than of distances.
    """
    return _percent_over_powers_of_two(
        distances,
        accuracies,
        xlabel="distance from the border (pixels)",
        ylabel="pixel accuracy (%)",
        title=title,
    )


def efficiency_over_devices(
    counts: Sequence[int], efficiencies: Mapping[str, Sequence[float]], *, title: str
) -> Figure:
    """Efficiency of weak scaling over the number of devices, one line for each name.

    Args:
        counts: numbers of devices.
        efficiencies: by name, a fraction for each number.
        title: names what is trained.

    Raises:
        ValueError: there is no number, or a different number of efficiencies than of numbers.
    """
    return _percent_over_powers_of_two(
        counts, efficiencies, xlabel="chips", ylabel="efficiency (%)", title=title
    )


def error_over_size(
    sizes: Sequence[int],
    errors: Mapping[str, Sequence[float]],
    *,
    xlabel: str,
    ylabel: str,
    title: str,
) -> Figure:
    """Error over the size of a model, both logarithmic, one line for each name.

    Args:
        sizes: for example numbers of neurons.
        errors: by name, an error for each size.
        xlabel: what the size is.
        ylabel: what the error is.
        title: names the data set and the split.

    Raises:
        ValueError: there is no size, or a different number of errors than of sizes.
    """
    figure, axes = _over_size(sizes, errors, title=title)
    axes.set_yscale("log")
    plain_axes(axes, xlabel=xlabel, ylabel=ylabel)
    if len(errors) > 1:
        axes.legend(fontsize=TICK_SIZE, frameon=False, loc="best")
    return figure


def _percent_over_powers_of_two(
    sizes: Sequence[int],
    accuracies: Mapping[str, Sequence[float]],
    *,
    xlabel: str,
    ylabel: str,
    title: str,
) -> Figure:
    percent = {name: 100 * np.asarray(fractions, float) for name, fractions in accuracies.items()}
    figure, axes = _over_size(sizes, percent, title=title, base=2)
    plain_axes(axes, xlabel=xlabel, ylabel=ylabel)
    axes.legend(fontsize=TICK_SIZE, frameon=False, loc="best")
    return figure


def _over_size(
    sizes: Sequence[int],
    lines: Mapping[str, Sequence[float] | np.ndarray],
    *,
    title: str,
    height: float = 4.2,
    base: float = 10,
    markers: str = "o",
) -> tuple[Figure, Axes]:
    """Lines over a logarithmic axis with a tick at each size."""
    if not len(sizes):
        raise ValueError("nothing to draw: expected at least one size")
    figure = new_figure(6.5, height, title)
    axes = figure.add_subplot()
    for index, (name, values) in enumerate(lines.items()):
        if len(values) != len(sizes):
            raise ValueError(f"{name!r} has {len(values)} values for {len(sizes)} sizes")
        axes.plot(
            sizes,
            values,
            label=name,
            color=color_of(index),
            marker=markers[index % len(markers)],
            markersize=5,
            linewidth=2.0,
        )
    axes.set_xscale("log", base=base)
    axes.xaxis.set_major_locator(FixedLocator(list(sizes)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    return figure, axes
