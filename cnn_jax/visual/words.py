"""Figures about word vectors: the words in the plane, and the words nearest to others."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from cnn_jax.visual.style import (
    CAPTION_SIZE,
    GRAY,
    INK,
    LABEL_SIZE,
    PALETTE,
    TICK_SIZE,
    AnyArray,
    NothingToDraw,
    new_figure,
)

_SIDE = 9.0
_LINE = 0.2  # inches
_COLUMN = 1.5


def word_map(points: Float[AnyArray, "words 2"], words: Sequence[str], *, title: str) -> Figure:
    """Words at their points in the plane. Where names would overlap, the frequent word has its own.

    Axes have no unit, and are not drawn.

    Args:
        points: two numbers for each word.
        words: frequent ones first.
        title: names the text and how the points were found.

    Raises:
        NothingToDraw: there are no words.
        ValueError: not one point for each word.
    """
    points = np.asarray(points)
    if not words:
        raise NothingToDraw("there are no words")
    if points.shape != (len(words), 2):
        raise ValueError(f"the points have shape {points.shape}, expected {(len(words), 2)}")
    figure = new_figure(_SIDE, _SIDE, title)
    axes = figure.add_subplot()
    axes.scatter(points[:, 0], points[:, 1], s=6, color=PALETTE[4], linewidths=0)
    names = [
        axes.annotate(
            word,
            point,
            xytext=(2, 2),
            textcoords="offset points",
            fontsize=CAPTION_SIZE,
            color=INK,
            parse_math=False,
        )
        for word, point in zip(words, points, strict=True)
    ]
    axes.margins(0.06)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(GRAY)
    figure.draw_without_rendering()
    drawn: list[Bbox] = []
    for name in names:
        box = name.get_window_extent()
        if box.count_overlaps(drawn):
            name.remove()
        else:
            drawn.append(box)
    return figure


def nearest_sheet(found: Mapping[str, Sequence[tuple[str, float]]], *, title: str) -> Figure:
    """Words with those nearest to them, a row each.

    Args:
        found: by what is asked, the words that were found with their cosines, nearest first.
        title: names the text.

    Raises:
        NothingToDraw: nothing is asked.
    """
    if not found:
        raise NothingToDraw("there are no words to look for")
    columns = max(map(len, found.values()))
    asked = max(1.4, 0.085 * max(map(len, found)))
    width, count = asked + _COLUMN * columns, len(found)
    figure = new_figure(width, 2 * _LINE * count, title)
    axes = figure.add_subplot(xlim=(0, width), ylim=(count, 0))
    axes.set_axis_off()
    for row, (word, nearest) in enumerate(found.items()):
        axes.text(0, row, word, fontsize=LABEL_SIZE, color=PALETTE[0], va="top", parse_math=False)
        for column, (other, cosine) in enumerate(nearest):
            x = asked + _COLUMN * column
            axes.text(x, row, other, fontsize=TICK_SIZE, color=INK, va="top", parse_math=False)
            axes.text(x, row + 0.5, f"{cosine:.2f}", fontsize=CAPTION_SIZE, color=GRAY, va="top")
    return figure
