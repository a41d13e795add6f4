import numpy as np
import pytest

from cnn_jax.visual import function_fits, function_maps, save_figure

X = np.linspace(-1, 1, 50)
TARGET = np.sin(3 * X)


def titles(figure):
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def test_every_fit_stands_in_a_panel_with_the_function_and_its_error(tmp_path):
    figure = function_fits(
        X, TARGET, {"2 neurons": TARGET + 0.5, "4 neurons": TARGET}, title="wave, test"
    )
    assert figure.get_suptitle() == "wave, test"
    assert titles(figure) == ["2 neurons: RMSE 0.5", "4 neurons: RMSE 0"]
    for axes, fit in zip(figure.axes, (TARGET + 0.5, TARGET), strict=True):
        function, drawn = axes.get_lines()
        np.testing.assert_array_equal(function.get_xydata(), np.stack([X, TARGET], 1))
        np.testing.assert_array_equal(drawn.get_ydata(), fit)
    save_figure(figure, tmp_path / "fits.png")


def test_a_fit_far_outside_does_not_flatten_the_function():
    figure = function_fits(X, TARGET, {"diverged": 1e6 * X}, title="")
    low, high = figure.axes[0].get_ylim()
    assert -2 < low < TARGET.min() and TARGET.max() < high < 2


def test_maps_have_one_scale_and_the_function_comes_first(tmp_path):
    target = np.outer(TARGET, X)
    figure = function_maps(target, {"2": 2 * target, "4": target}, (-1, 1, -1, 1), title="ripples")
    images = [axes.get_images()[0] for axes in figure.axes if axes.get_images()]
    assert titles(figure)[0] == "function" and titles(figure)[2] == "4: RMSE 0"
    for image, values in zip(images, (target, 2 * target, target), strict=True):
        np.testing.assert_array_equal(image.get_array(), values)
        largest = np.abs(target).max()
        assert image.get_clim() == (-largest, largest)
        assert image.get_extent() == [-1, 1, -1, 1]
    save_figure(figure, tmp_path / "maps.png")


@pytest.mark.usefixtures("no_shape_hook")
def test_what_cannot_be_drawn_is_named():
    with pytest.raises(ValueError, match="at least one fit"):
        function_fits(X, TARGET, {}, title="")
    with pytest.raises(ValueError, match=r"fit 'a' has shape \(3,\), the function \(50,\)"):
        function_fits(X, TARGET, {"a": np.zeros(3)}, title="")
