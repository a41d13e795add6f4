import numpy as np
import pytest

from cnn_jax.visual import error_curves, save_figure, training_curves


def row(step, split, **values):
    return {"step": step, "epoch": step / 10, "split": split, **values}


HISTORY = [
    row(10, "train", loss=2.0, accuracy=0.25, learning_rate=0.1, grad_norm=3.0),
    row(10, "validation", loss=1.9, accuracy=0.5, learning_rate=None, grad_norm=None),
    row(20, "train", loss=1.0, accuracy=0.75, learning_rate=0.05, grad_norm=2.0),
    row(20, "validation", loss=1.2, accuracy=0.625, learning_rate=None, grad_norm=None),
]


def lines(axes):
    return {
        line.get_label(): (line.get_xdata().tolist(), line.get_ydata().tolist())
        for line in axes.get_lines()
    }


def panels(figure):
    return {axes.get_ylabel(): axes for axes in figure.axes}


def test_training_curves_draw_every_quantity_of_every_split():
    figure = training_curves(HISTORY, title="digits")
    assert figure.get_suptitle() == "digits"
    axes = panels(figure)
    assert list(axes) == ["loss", "accuracy (%)", "learning rate", "gradient norm"]
    assert all(a.get_xlabel() == "step" for a in figure.axes)
    assert lines(axes["loss"]) == {
        "train": ([10, 20], [2.0, 1.0]),
        "validation": ([10, 20], [1.9, 1.2]),
    }
    assert lines(axes["accuracy (%)"])["validation"] == ([10, 20], [50, 62.5])
    assert lines(axes["learning rate"]) == {"train": ([10, 20], [0.1, 0.05])}
    assert [t.get_text() for t in axes["loss"].get_legend().get_texts()] == ["train", "validation"]


def test_rows_may_be_text_as_read_from_csv_and_out_of_order():
    text = [
        {key: "" if value is None else str(value) for key, value in r.items()}
        for r in reversed(HISTORY)
    ]
    a, b = training_curves(text, title=""), training_curves(HISTORY, title="")
    assert {k: lines(v)["train"] for k, v in panels(a).items()} == {
        k: lines(v)["train"] for k, v in panels(b).items()
    }


def test_a_quantity_without_values_has_no_panel():
    figure = training_curves([row(1, "train", loss=1.0), row(2, "train", loss=0.5)], title="")
    assert list(panels(figure)) == ["loss"]


def test_a_single_point_is_marked_and_a_wide_range_is_logarithmic(tmp_path):
    figure = training_curves([row(3, "train", loss=2.3)], title="smoke")
    assert figure.axes[0].get_lines()[0].get_marker() == "o"
    assert figure.axes[0].get_yscale() == "linear"
    wide = training_curves([row(i, "train", loss=10.0**-i) for i in range(4)], title="")
    assert wide.axes[0].get_yscale() == "log"
    diverged = [row(1, "train", loss=1.0), row(2, "train", loss=float("nan"))]
    save_figure(training_curves(diverged, title=""), tmp_path / "nan.png")


def test_training_curves_name_what_is_missing():
    with pytest.raises(ValueError, match="none of the 0 rows"):
        training_curves([], title="")
    with pytest.raises(ValueError, match="no 'split'"):
        training_curves([{"step": 1, "loss": 2.0}], title="")
    with pytest.raises(ValueError, match="no 'step'"):
        training_curves([{"split": "train", "loss": 2.0}], title="")
    with pytest.raises(ValueError, match="'loss', got 1 and 'high'"):
        training_curves([row(1, "train", loss="high")], title="")


def test_error_curves_draw_train_thin_and_validation_bold_in_one_colour():
    figure = error_curves({"plain-20": HISTORY, "plain-56": HISTORY}, title="digits")
    (axes,) = figure.axes
    assert axes.get_ylabel() == "error (%)"
    drawn = {line.get_label(): line for line in axes.get_lines()}
    train, validation = drawn["plain-20 train"], drawn["plain-20 validation"]
    assert train.get_color() == validation.get_color() != drawn["plain-56 train"].get_color()
    assert train.get_linestyle() == "--" and validation.get_linestyle() == "-"
    assert train.get_linewidth() < validation.get_linewidth()
    np.testing.assert_allclose(train.get_ydata(), [75, 25])
    np.testing.assert_allclose(validation.get_ydata(), [50, 37.5])
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["plain-20: 37.50%", "plain-56: 37.50%", "validation", "train"]


def test_the_error_axis_leaves_out_the_first_steps():
    rows = [row(i, "validation", accuracy=a) for i, a in enumerate([0.1, 0.5, 0.9, 0.9])]
    assert error_curves({"r": rows}, title="").axes[0].get_ylim() == pytest.approx((0, 30))
    perfect = [row(0, "validation", accuracy=0.8), row(1, "validation", accuracy=1.0)]
    assert error_curves({"r": perfect}, title="").axes[0].get_ylim() == pytest.approx((0, 21))


def test_error_curves_name_what_is_missing():
    with pytest.raises(ValueError, match="at least one run"):
        error_curves({}, title="")
    with pytest.raises(ValueError, match=r"'a'.*no accuracy"):
        error_curves({"a": [row(1, "train", loss=1.0)]}, title="")
