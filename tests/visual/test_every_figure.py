"""What holds for every figure: nothing is cut off or printed over, axes say what they show."""

import itertools
import typing

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from cnn_jax import visual
from tests.visual.every_figure import FIGURES


def test_every_function_that_makes_a_figure_is_here():
    functions = {
        name
        for name in visual.__all__
        if typing.get_type_hints(getattr(visual, name)).get("return") is Figure
    }
    assert functions == FIGURES.keys()


def written(figure: Figure) -> list[Text]:
    """All texts of a figure except those at the ticks."""
    texts = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        texts += [*axes.texts, axes.title]
        texts += [axes.xaxis.label, axes.yaxis.label] if axes.axison else []
        texts += axes.get_legend().get_texts() if axes.get_legend() else []
    return [text for text in texts if text.get_text()]


@pytest.mark.parametrize("name", FIGURES)
def test_texts_are_whole_and_apart_and_axes_are_labelled(name):
    figure = FIGURES[name]()
    figure.draw_without_rendering()
    whole = figure.bbox.padded(1)
    boxes = {text: text.get_window_extent() for text in written(figure)}
    for text, box in boxes.items():
        inside = whole.containsx(box.x0) and whole.containsx(box.x1)
        assert inside and whole.containsy(box.y0) and whole.containsy(box.y1), text
    for first, second in itertools.combinations(boxes, 2):
        assert not boxes[first].padded(-1).overlaps(boxes[second].padded(-1)), (first, second)
    for axes in figure.axes:
        place = axes.get_subplotspec()
        if place and axes.axison and axes.get_lines():
            # Panels of one figure are labelled at its left and bottom.
            assert axes.get_xlabel() or not place.is_last_row(), axes
            named = any(tick.get_text().isalpha() for tick in axes.get_yticklabels())
            assert axes.get_ylabel() or named or not place.is_first_col(), axes
