from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from cnn_jax.visual import code_scatter, save_figure

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(0, 3, 60).astype(np.int32)
CODES = RANDOM.normal(size=(60, 2)) + 2 * LABELS[:, None]
NAMES = ["cat", "dog", "owl"]


def test_points_have_the_colour_of_their_class_and_the_class_its_name(tmp_path):
    figure = code_scatter({"PCA": CODES, "network": 2 * CODES}, LABELS, NAMES, title="pets, test")
    assert figure.get_suptitle() == "pets, test"
    assert [axes.get_title() for axes in figure.axes] == ["PCA", "network"]
    points = figure.axes[1].collections[0]
    np.testing.assert_array_equal(points.get_offsets(), 2 * CODES)
    colors = points.get_facecolors()
    legend = figure.legends[0]
    for label, (name, handle) in enumerate(zip(NAMES, legend.legend_handles, strict=True)):
        members = np.flatnonzero(np.equal(LABELS, label))
        of_class = np.unique(colors[members, :3], axis=0)
        assert len(of_class) == 1
        assert tuple(of_class[0]) == handle.get_color()[:3]
        text = figure.axes[0].texts[label]
        assert text.get_text() == name == legend.get_texts()[label].get_text()
        np.testing.assert_allclose(text.xy, np.median(CODES[members], axis=0))
    save_figure(figure, tmp_path / "codes.png")


def test_names_do_not_overlap():
    # Ten classes whose medians are all but the same.
    labels = np.arange(1000, dtype=np.int32) % 10
    names = [f"a long name {label}" for label in range(10)]
    figure = code_scatter({"": RANDOM.normal(size=(1000, 2))}, labels, names, title="")
    FigureCanvasAgg(figure).draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 10
    assert not any(first.overlaps(second) for first, second in combinations(boxes, 2))


def test_a_single_point_far_away_does_not_take_the_axes_with_it():
    codes = np.repeat(CODES, 10, axis=0)
    codes[0] = 1e6
    (axes,) = code_scatter({"": codes}, np.repeat(LABELS, 10), NAMES, title="").axes
    assert axes.get_xlim()[1] < 10 and axes.get_ylim()[1] < 10


def test_codes_that_have_collapsed_are_drawn():
    (axes,) = code_scatter({"": np.zeros((60, 2))}, LABELS, NAMES, title="").axes
    assert axes.get_xlim()[0] < 0 < axes.get_xlim()[1]


def test_names_of_many_classes_are_left_out():
    names = [str(label) for label in range(50)]
    figure = code_scatter({"": CODES}, np.arange(60, dtype=np.int32) % 50, names, title="")
    assert not figure.legends and not figure.axes[0].texts


@pytest.mark.usefixtures("no_shape_hook")
def test_what_cannot_be_drawn_is_named():
    with pytest.raises(ValueError, match="at least one code"):
        code_scatter({}, LABELS, NAMES, title="")
    with pytest.raises(ValueError, match=r"codes 'PCA' have shape \(60, 3\), expected \(60, 2\)"):
        code_scatter({"PCA": np.zeros((60, 3))}, LABELS, NAMES, title="")
