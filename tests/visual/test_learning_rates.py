import numpy as np
import pytest

from cnn_jax.visual import learning_rate_curves, save_figure


def rows(losses: list[float], accuracies: list[float]) -> list[dict]:
    train = [{"step": 10 * i, "split": "train", "loss": x} for i, x in enumerate(losses, 1)]
    return train + [
        {"step": 20 * i, "split": "validation", "accuracy": x} for i, x in enumerate(accuracies, 1)
    ]


RUNS = {
    0.1: rows([2.0, 1e20], []),
    0.001: rows([2.0, 1.0], [0.6]),
    0.01: rows([1.5, 0.5], [0.8]),
}
ENDS = {0.1: None, 0.001: 0.6, 0.01: 0.8}


def test_a_line_a_rate_and_the_end_over_the_rate(tmp_path):
    figure = learning_rate_curves(RUNS, ENDS, 0.01, metric="accuracy", title="digits")
    losses, accuracies, ends = figure.axes
    # In the order of the rates; the one that ran away does not take the axis with it.
    assert [line.get_ydata()[0] for line in losses.get_lines()] == [2.0, 1.5, 2.0]
    assert 2.0 < losses.get_ylim()[1] < 2.5
    validated = [line.get_ydata()[0] for line in accuracies.get_lines()]
    assert validated == pytest.approx([40.0, 20.0])
    assert ends.get_xscale() == "log" and ends.get_xlabel() == "learning rate"
    np.testing.assert_allclose(ends.get_lines()[0].get_xydata(), [[0.001, 40], [0.01, 20]])
    widths = [line.get_linewidth() for line in losses.get_lines()]
    assert widths[1] > widths[0] == widths[2]
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["0.001", "0.01 chosen", "0.1 diverged"]
    save_figure(figure, tmp_path / "rates.png")


def test_a_rate_that_fails_does_not_flatten_the_others():
    runs = {rate: rows([2.0, 1.0], [end]) for rate, end in ((1e-3, 0.88), (1e-2, 0.87), (1, 0.1))}
    ends = {rate: run[-1]["accuracy"] for rate, run in runs.items()}
    _, accuracies, over_rate = learning_rate_curves(
        runs, ends, 1e-3, metric="accuracy", title=""
    ).axes
    for axes in (accuracies, over_rate):
        assert axes.get_yscale() == "log" and axes.get_ylabel() == "validation error (%)"
        assert 10 < axes.get_ylim()[0] < 12 and 90 < axes.get_ylim()[1] < 100


def test_one_rate_alone(tmp_path):
    figure = learning_rate_curves({0.1: RUNS[0.01]}, {0.1: 0.8}, 0.1, metric="rmse", title="")
    save_figure(figure, tmp_path / "rates.png")


@pytest.mark.usefixtures("no_shape_hook")
def test_rates_that_do_not_belong_together_are_named():
    for runs, ends, chosen in (({}, {}, 0.1), (RUNS, {0.1: 1.0}, 0.1), (RUNS, ENDS, 0.5)):
        with pytest.raises(ValueError, match="the same rates, including the chosen one"):
            learning_rate_curves(runs, ends, chosen, metric="accuracy", title="")
