import pytest

from cnn_jax.visual import learning_curve, save_figure

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


def test_what_cannot_be_drawn_is_named():
    with pytest.raises(ValueError, match="at least one number of examples"):
        learning_curve([], {}, xlabel="", title="")
    with pytest.raises(ValueError, match="'random' has 1 accuracies for 2 numbers"):
        learning_curve([1, 2], {"random": [0.5]}, xlabel="", title="")
