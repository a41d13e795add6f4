import numpy as np
import pytest

from cnn_jax.visual import class_histogram, sample_sheet


def test_all_images_are_on_the_sheet():
    images = np.linspace(0.1, 0.9, 6)[:, None, None, None] * np.ones((1, 4, 4, 1))
    (axes,) = sample_sheet(images, title="").axes
    drawn = np.unique(np.asarray(axes.images[0].get_array()))
    np.testing.assert_allclose(drawn, [*np.linspace(0.1, 0.9, 6), 1.0], rtol=1e-6)
    for wrong in (np.ones((0, 4, 4, 1)), np.ones((2, 4, 4, 2))):
        with pytest.raises(ValueError, match="expected at least one image of shape"):
            sample_sheet(wrong, title="")


def test_bars_have_the_height_of_the_shares():
    shares = {"samples": [0.75, 0.25], "test": [0.5, 0.5]}
    (axes,) = class_histogram(["cat", "dog"], shares, title="", least=0.03).axes
    heights = [bar.get_height() for bar in axes.patches]
    assert heights == [75, 25, 50, 50]
    lefts = [bar.get_x() for bar in axes.patches]
    assert lefts[0] < lefts[2] < lefts[1] < lefts[3]
    assert [line.get_ydata()[0] for line in axes.lines] == [3]
    with pytest.raises(ValueError, match="'samples' has 1 values for 2 classes"):
        class_histogram(["cat", "dog"], {"samples": [1.0]}, title="")
    with pytest.raises(ValueError, match="at least one class"):
        class_histogram([], {"samples": []}, title="")
