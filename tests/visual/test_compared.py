import numpy as np
import pytest

from cnn_jax.visual import (
    accuracy_gaps,
    compared_curves,
    save_figure,
)


def rows(scale=1.0, rate=0.1):
    """Five epochs of ten steps, the first of them far off."""
    history = []
    for epoch in range(1, 6):
        step = 10 * epoch
        history += [
            {
                "step": step,
                "split": "train",
                "loss": scale * 8 / epoch**2,
                "accuracy": 1 - 0.5 / epoch,
                "learning_rate": rate * 10.0**-epoch,
            },
            {
                "step": step,
                "split": "validation",
                "loss": scale * 9 / epoch**2,
                "accuracy": 1 - 0.6 / epoch,
                "learning_rate": None,
            },
        ]
    return history


RUNS = {"small": rows(), "large": rows(scale=2.0)}


def test_compared_curves_have_a_panel_a_quantity_and_a_line_a_run_and_split():
    quantities = ("loss", "accuracy", "learning_rate")
    figure = compared_curves(RUNS, quantities, title="digits, two sizes")
    assert figure.get_suptitle() == "digits, two sizes"
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "loss",
        "accuracy (%)",
        "learning rate",
    ]
    loss, accuracy, rate = figure.axes
    assert [line.get_label() for line in loss.get_lines()] == [
        "small train",
        "small validation",
        "large train",
        "large validation",
    ]
    np.testing.assert_allclose(
        accuracy.get_lines()[1].get_ydata(), 100 - 60 / np.arange(1, 6), rtol=1e-12
    )
    # Only training has a rate, which is then no thin line.
    assert [line.get_linestyle() for line in rate.get_lines()] == ["-", "-"]
    assert [line.get_linestyle() for line in loss.get_lines()[:2]] == ["--", "-"]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["small", "large", "validation", "train"]


def test_lines_of_one_run_share_a_colour_that_no_other_has():
    first, second, third, fourth = compared_curves(RUNS, ("loss",), title="").axes[0].get_lines()
    assert first.get_color() == second.get_color() != third.get_color() == fourth.get_color()


def test_axes_leave_out_the_first_steps():
    loss, accuracy, rate = compared_curves(
        RUNS, ("loss", "accuracy", "learning_rate"), title=""
    ).axes
    # The largest last loss is 18 / 25, the least last accuracy 88 percent.
    assert loss.get_ylim() == pytest.approx((0, 2.5 * 18 / 25))
    assert accuracy.get_ylim()[0] == pytest.approx(70)
    assert rate.get_yscale() == "log"


def test_a_rate_that_goes_to_zero_does_not_take_the_axis_with_it():
    history = rows()
    history[-2] = history[-2] | {"learning_rate": 0.0}
    (axes,) = compared_curves({"a": history}, ("learning_rate",), title="").axes
    assert axes.get_ylim() == pytest.approx((1e-2 / 1e4 / 2, 2e-2))


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_no_limits(loss, tmp_path):
    history = [row | {"loss": loss} for row in rows()]
    save_figure(compared_curves({"diverged": history}, ("loss",), title="t"), tmp_path / "a.png")


def test_compared_curves_need_values():
    with pytest.raises(ValueError, match="at least one run"):
        compared_curves({}, ("loss",), title="")
    with pytest.raises(ValueError, match="at least one run"):
        compared_curves(RUNS, (), title="")
    with pytest.raises(ValueError, match="'small' has no grad_norm"):
        compared_curves(RUNS, ("grad_norm",), title="")


def test_accuracy_gaps_are_bars_between_two_points():
    figure = accuracy_gaps(
        {"none": (1.0, 0.8), "dropout": (0.9, 0.85)}, ("train", "test"), title="few digits"
    )
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["none", "dropout"]
    bars, train, test = axes.collections
    assert [bar[:, 0].tolist() for bar in bars.get_segments()] == [[100, 80], [90, 85]]
    assert train.get_offsets()[:, 0].tolist() == [100, 90]
    assert test.get_offsets()[:, 0].tolist() == [80, 85]
    assert [text.get_text() for text in axes.texts] == ["80.0", "85.0"]
    # The first run is on top.
    assert axes.get_ylim() == (1.5, -0.5)
    with pytest.raises(ValueError, match="at least one run"):
        accuracy_gaps({}, ("train", "test"), title="")


def test_a_curve_below_another_shows_its_rim():
    runs = {"first": rows(), "same": rows(), "other": rows(0.5)}
    figure = compared_curves(runs, ["loss"], title="")
    widths = {line.get_label(): line.get_linewidth() for line in figure.axes[0].get_lines()}
    assert widths["first validation"] >= widths["same validation"] + 2
    assert widths["first train"] >= widths["same train"] + 2
    assert widths["same validation"] == widths["other validation"]
