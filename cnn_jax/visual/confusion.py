"""Confusion matrices."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from cnn_jax.visual.style import INK, LABEL_SIZE, TICK_SIZE, AnyArray, new_figure

_COUNTS_UP_TO = 20
_NAMES_UP_TO = 200
_LONGEST_COUNT = 100_000


def confusion_matrix(
    counts: Int[AnyArray, "classes classes"] | Float[AnyArray, "classes classes"],
    class_names: Sequence[str],
    *,
    title: str,
) -> Figure:
    """The confusion matrix, with a row for each true class and a column for each predicted class.

    The colour of a cell is its share of the row, on a scale that shows small shares. Rows without
    examples are white. Counts are written for up to 20 classes, as per cent of their row where they
    have more than five digits. Class names are written for up to 200 classes.

    Args:
        counts: `counts[i, j]` examples of class i are predicted as class j.
        class_names: one for each class.
        title: names the data set and the split. The accuracy is added on a second line.

    Raises:
        ValueError: counts are negative or not a square matrix, or there is a wrong number of names.
    """
    counts = np.asarray(counts)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(f"expected counts of shape [classes, classes], got {counts.shape}")
    if not np.all(counts >= 0):
        raise ValueError(f"counts must not be negative, got {counts.min()}")
    classes = len(counts)
    if len(class_names) != classes:
        raise ValueError(f"counts have {classes} classes, but there are {len(class_names)} names")

    examples = counts.sum()
    if examples:
        title += f"\naccuracy {np.trace(counts) / examples:.2%} of {examples:,.0f}"
    side = 4.2 + 0.32 * classes if classes <= _COUNTS_UP_TO else min(16.0, 5.0 + 0.11 * classes)
    figure = new_figure(side + 1.0, side, title)
    axes = figure.add_subplot()
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    image = axes.imshow(
        shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1), interpolation="nearest"
    )

    axes.set_xlabel("predicted class", fontsize=LABEL_SIZE, color=INK)
    axes.set_ylabel("true class", fontsize=LABEL_SIZE, color=INK)
    if classes <= _NAMES_UP_TO:
        # The names must not be higher than a row.
        size = min(TICK_SIZE, max(3.0, 0.7 * 72 * (side - 1.5) / max(classes, 1)))
        axes.set_yticks(range(classes), class_names, fontsize=size)
        short = classes <= _COUNTS_UP_TO and all(len(name) <= 3 for name in class_names)
        axes.set_xticks(range(classes), class_names, fontsize=size, rotation=0 if short else 90)
    axes.tick_params(length=0, colors=INK)
    axes.spines[:].set_visible(False)
    if classes <= _COUNTS_UP_TO:
        size = min(TICK_SIZE, 72 * 0.75 * (side - 1.5) / max(classes, 1) / 3)
        long = counts.max(initial=0) >= _LONGEST_COUNT
        for (row, column), count in np.ndenumerate(counts):
            share = shares[row, column]
            text = f"{100 * share:.1f}" if long else f"{count:.0f}"
            if count and text != "0.0":
                color = "white" if share > 0.4 else INK
                axes.text(column, row, text, ha="center", va="center", size=size, color=color)
    bar = figure.colorbar(
        image,
        ax=axes,
        shrink=0.6,
        aspect=25,
        format=PercentFormatter(1),
        ticks=[0, 0.01, 0.05, 0.2, 0.5, 1],
    )
    bar.set_label("share of the true class", fontsize=LABEL_SIZE, color=INK)
    bar.ax.tick_params(labelsize=TICK_SIZE, colors=INK)
    bar.outline.set_visible(False)
    return figure
