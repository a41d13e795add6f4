import numpy as np
import pytest

from cnn_jax.visual import gradients_by_layer, gradients_over_training, save_figure

NORMS = {"sigmoid": np.array([1e-8, 1e-4, 1.0]), "relu": np.array([0.5, 0.8, 1.0])}


def test_a_panel_a_moment_and_a_line_a_run(tmp_path):
    moments = {"first 10 steps": NORMS, "last 10 steps": {k: v / 2 for k, v in NORMS.items()}}
    figure = gradients_by_layer(moments, title="digits, training")
    assert figure.get_suptitle() == "digits, training"
    assert [axes.get_title() for axes in figure.axes] == list(moments)
    for axes, runs in zip(figure.axes, moments.values(), strict=True):
        assert axes.get_yscale() == "log"
        drawn = {line.get_label(): line for line in axes.get_lines()}
        assert list(drawn) == list(runs)
        for name, norms in runs.items():
            np.testing.assert_array_equal(drawn[name].get_xdata(), [1, 2, 3])
            np.testing.assert_array_equal(drawn[name].get_ydata(), norms)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(NORMS)
    save_figure(figure, tmp_path / "layers.png")


def test_a_norm_of_zero_or_none_at_all_is_left_out(tmp_path):
    figure = gradients_by_layer({"first": {"relu": np.array([0, 1, np.nan])}}, title="")
    (line,) = figure.axes[0].get_lines()
    np.testing.assert_array_equal(line.get_ydata(), [np.nan, 1.0, np.nan])
    save_figure(figure, tmp_path / "layers.png")
    dead = gradients_over_training({"relu": ([10], np.zeros((1, 3)))}, title="")
    save_figure(dead, tmp_path / "dead.png")


def test_training_is_colour_over_steps_and_layers_in_one_scale(tmp_path):
    norms = np.outer([1.0, 0.1], NORMS["sigmoid"])
    runs = {"sigmoid": ([10, 30], norms), "relu": ([10, 30], norms * 1e3)}
    figure = gradients_over_training(runs, title="digits, training")
    panels = {axes.get_title(): axes.collections[0] for axes in figure.axes if axes.get_title()}
    assert list(panels) == ["sigmoid", "relu"]
    for name, mesh in panels.items():
        np.testing.assert_array_equal(np.asarray(mesh.get_array()).reshape(3, 2), runs[name][1].T)
        np.testing.assert_array_equal(mesh.get_coordinates()[0, :, 0], [0, 10, 30])
        assert mesh.get_clim() == pytest.approx((1e-9, 1e3))
    save_figure(figure, tmp_path / "training.png")


@pytest.mark.usefixtures("no_shape_hook")
def test_what_cannot_be_drawn_is_named():
    with pytest.raises(ValueError, match="at least one moment"):
        gradients_by_layer({}, title="")
    with pytest.raises(ValueError, match="at least one run"):
        gradients_over_training({}, title="")
    with pytest.raises(ValueError, match=r"run 'a' has 3 steps and norms of shape \(2, 4\)"):
        gradients_over_training({"a": ([1, 2, 3], np.ones((2, 4)))}, title="")
