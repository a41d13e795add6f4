import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from cnn_jax.visual import image_grid, save_figure, worst_mistakes

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (5, 8, 8, 1), dtype=np.uint8)


def captions(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_images_are_placed_in_rows_with_their_captions():
    figure = image_grid(IMAGES, ["a", "b", "c", "d", "e"], title="digits", columns=3)
    assert captions(figure) == ["a", "b", "c", "d", "e"]
    assert figure.texts[0].get_text() == "digits"
    for axes, image in zip(figure.axes, IMAGES, strict=True):
        np.testing.assert_array_equal(axes.get_images()[0].get_array(), image[..., 0])
    corners = [(axes.get_position().x0, axes.get_position().y0) for axes in figure.axes]
    assert corners[0][1] == corners[2][1] > corners[3][1]
    assert corners[0][0] == corners[3][0] < corners[1][0] < corners[2][0]


def test_gray_levels_are_those_of_the_dtype_and_floats_are_clipped():
    gray = image_grid(IMAGES[:1] // 2, [""], title="").axes[0].get_images()[0]
    assert gray.get_clim() == (0, 255)
    colour = np.array([[[[-1.0, 0.5, 2.0]]]], np.float32)
    shown = image_grid(colour, [""], title="").axes[0].get_images()[0].get_array()
    np.testing.assert_array_equal(shown, [[[0, 0.5, 1]]])


def test_long_captions_stay_in_their_cells():
    figure = image_grid(IMAGES[:2], ["word " * 40, "b" * 100], title="a title " * 30)
    FigureCanvasAgg(figure).draw()
    first, second = (axes.texts[0].get_window_extent() for axes in figure.axes)
    assert first.x1 <= second.x0
    title = figure.texts[0].get_window_extent()
    assert title.x0 >= 0 and title.x1 <= figure.bbox.x1
    assert title.y0 >= figure.axes[0].get_window_extent().y1
    assert captions(figure)[0].count("\n") == 3 and captions(figure)[0].endswith("…")


def test_image_grid_names_what_is_wrong(no_shape_hook):
    with pytest.raises(ValueError, match=r"1 or 3\], got \(8, 8, 1\)"):
        image_grid(IMAGES[0], [""], title="")
    with pytest.raises(ValueError, match=r"1 or 3\], got \(1, 4, 4, 2\)"):
        image_grid(np.zeros((1, 4, 4, 2)), [""], title="")
    with pytest.raises(ValueError, match="got none"):
        image_grid(IMAGES[:0], [], title="")
    with pytest.raises(ValueError, match="5 images need as many captions, got 1"):
        image_grid(IMAGES, [""], title="")
    with pytest.raises(ValueError, match="one column, got 0"):
        image_grid(IMAGES, [""] * 5, title="", columns=0)


LABELS = np.array([0, 1, 2, 0, 1], np.int32)
PROBABILITIES = np.array(
    [[0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.9, 0.06, 0.04], [0.5, 0.3, 0.2], [0.5, 0.3, 0.2]],
    np.float32,
)


def test_the_worst_mistake_gives_its_true_class_least_probability():
    figure = worst_mistakes(IMAGES, LABELS, PROBABILITIES, ["cat", "dog", "owl"], title="val")
    assert captions(figure) == [
        "owl (4%)\ntaken for cat (90%)",
        "cat (20%)\ntaken for dog (70%)",
        "dog (30%)\ntaken for cat (50%)",
    ]
    np.testing.assert_array_equal(figure.axes[0].get_images()[0].get_array(), IMAGES[2][..., 0])
    assert figure.texts[0].get_text() == "val\nmistakes, lowest probability of the true class first"
    one = worst_mistakes(IMAGES, LABELS, PROBABILITIES, ["a", "b", "c"], title="", count=1)
    assert len(one.axes) == 1


def test_small_probabilities_are_told_apart():
    probabilities = np.array([[2e-4, 1 - 2e-4], [3e-7, 1 - 3e-7]], np.float32)
    figure = worst_mistakes(IMAGES[:2], LABELS[:1].repeat(2), probabilities, ["a", "b"], title="")
    assert captions(figure) == ["a (3e-05%)\ntaken for b (100%)", "a (0.02%)\ntaken for b (100%)"]


def test_no_mistake_is_said(tmp_path):
    figure = worst_mistakes(IMAGES[:2], LABELS[:2], np.eye(3)[LABELS[:2]], ["a"] * 3, title="val")
    assert captions(figure) == ["no mistakes"]
    save_figure(figure, tmp_path / "none.png")


def test_worst_mistakes_names_what_is_wrong(no_shape_hook):
    names = ["a", "b", "c"]
    with pytest.raises(ValueError, match=r"shape \[n, 2\].*got \(5, 3\)"):
        worst_mistakes(IMAGES, LABELS, PROBABILITIES, names[:2], title="")
    with pytest.raises(ValueError, match="5 images, 4 labels and 5 rows"):
        worst_mistakes(IMAGES, LABELS[:4], PROBABILITIES, names, title="")
    with pytest.raises(ValueError, match=r"labels from 0 to 3 .* 3 classes"):
        worst_mistakes(IMAGES, np.array([0, 1, 2, 3, 0]), PROBABILITIES, names, title="")
    with pytest.raises(ValueError, match="not logits"):
        worst_mistakes(IMAGES, LABELS, 3 * PROBABILITIES, names, title="")
