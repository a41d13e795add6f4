import numpy as np
import pytest

from cnn_jax.visual import reconstructions, save_figure

IMAGES = np.random.default_rng(0).random((3, 4, 5, 1))
NAMES = ["cat", "dog", "owl"]


def test_rows_are_the_originals_and_every_way_with_its_squared_error(tmp_path):
    rebuilt = IMAGES + np.array([0.1, 0.5, 2.0])[:, None, None, None]
    figure = reconstructions(IMAGES, {"PCA": rebuilt}, NAMES, title="pets, test")
    assert figure.get_suptitle() == "pets, test"
    first, second = figure.axes[:3], figure.axes[3:]
    assert [axes.get_title() for axes in first] == NAMES
    assert first[0].get_ylabel() == "original" and second[0].get_ylabel() == "PCA"
    # 20 pixels, each wrong by 0.1, 0.5 and 2: not by what can be shown of it.
    assert [axes.get_xlabel() for axes in second] == ["0.2", "5.0", "80.0"]
    for axes, image in zip(figure.axes, [*IMAGES, *rebuilt], strict=True):
        (shown,) = axes.get_images()
        np.testing.assert_allclose(shown.get_array(), np.clip(image[..., 0], 0, 1), rtol=1e-6)
        assert shown.get_clim() == (0, 1)
    save_figure(figure, tmp_path / "reconstructions.png")


def test_colour_is_shown():
    colour = np.random.default_rng(0).random((1, 4, 4, 3))
    axes = reconstructions(colour, {"": colour}, [""], title="").axes[0]
    np.testing.assert_allclose(axes.get_images()[0].get_array(), colour[0], rtol=1e-6)


@pytest.mark.usefixtures("no_shape_hook")
def test_what_cannot_be_drawn_is_named():
    with pytest.raises(ValueError, match=r"1 or 3\], got \(0, 4, 5, 1\)"):
        reconstructions(IMAGES[:0], {}, [], title="")
    with pytest.raises(ValueError, match="3 images need as many captions, got 2"):
        reconstructions(IMAGES, {}, NAMES[:2], title="")
    with pytest.raises(ValueError, match=r"'PCA' have shape \(2, 4, 5, 1\), the images \(3, 4"):
        reconstructions(IMAGES, {"PCA": IMAGES[:2]}, NAMES, title="")
