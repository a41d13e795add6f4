from itertools import combinations

import pytest

from cnn_jax.visual import (
    accuracy_over_batch_size,
    error_over_size,
    learning_curve,
    save_figure,
)

ACCURACIES = {"random": [0.5, 0.75], "pretrained": [0.625, 0.75]}


def test_accuracies_are_drawn_over_a_logarithmic_axis(tmp_path):
    figure = learning_curve([100, 10000], ACCURACIES, xlabel="labels", title="digits, test")
    (axes,) = figure.axes
    assert figure.get_suptitle() == "digits, test" and axes.get_xlabel() == "labels"
    assert axes.get_xscale() == "log" and axes.get_yscale() == "linear"
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axes.get_lines()}
    assert drawn == {
        "random": [[100, 50], [10000, 75]],
        "pretrained": [[100, 62.5], [10000, 75]],
    }
    save_figure(figure, tmp_path / "labels.png")
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["100", "10,000"]


def test_the_best_value_stands_above_and_equal_ones_on_both_sides():
    (axes,) = learning_curve([100, 10000], ACCURACIES, xlabel="", title="").axes
    placed = [(text.get_text(), text.get_va()) for text in axes.texts]
    assert placed == [("50.0", "top"), ("75.0", "bottom"), ("62.5", "bottom"), ("75.0", "top")]


def test_values_that_are_close_are_not_printed_over_each_other():
    accuracies = {name: [0.43 + 0.001 * i, 0.8] for i, name in enumerate(("a", "b", "c", "d"))}
    figure = learning_curve([100, 10000], accuracies, xlabel="labels", title="")
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 8
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_accuracy_over_batch_size_is_in_percent_and_logarithmic():
    figure = accuracy_over_batch_size([2, 8], {"a": [0.5, 0.75], "b": [0.1, 0.2]}, title="t")
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert axes.get_xticks().tolist() == [2, 8]
    assert [line.get_ydata().tolist() for line in axes.get_lines()] == [[50, 75], [10, 20]]


def test_error_over_size_is_logarithmic_in_both():
    errors = {"wave": [0.1, 0.01], "ripples": [0.2, 0.05]}
    figure = error_over_size([2, 64], errors, xlabel="neurons", ylabel="RMSE", title="test")
    (axes,) = figure.axes
    assert axes.get_xscale() == axes.get_yscale() == "log"
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axes.get_lines()}
    assert drawn == {"wave": [[2, 0.1], [64, 0.01]], "ripples": [[2, 0.2], [64, 0.05]]}
    assert [t.get_text() for t in axes.get_legend().get_texts()] == list(errors)
    assert list(axes.get_xticks()) == [2, 64]


def test_what_cannot_be_drawn_is_named():
    with pytest.raises(ValueError, match="at least one size"):
        accuracy_over_batch_size([], {}, title="")
    with pytest.raises(ValueError, match="'random' has 1 values for 2 sizes"):
        learning_curve([1, 2], {"random": [0.5]}, xlabel="", title="")
