import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from cnn_jax.visual import Picture, example_rows

IMAGE = np.random.default_rng(0).random((8, 12, 3)).astype(np.float32)
BOXES = np.array([[2.0, 1.0, 6.0, 5.0], [0.0, 0.0, 0.0, 0.0]], np.float32)
MASK = np.zeros((8, 12), np.int32)
MASK[1:5, 2:6], MASK[:, -1] = 1, 255


def test_rows_have_names_pictures_and_captions():
    rows = {
        "first": [Picture(IMAGE, caption="a"), Picture(IMAGE[..., :1])],
        "second": [Picture(2 * IMAGE - 0.5)],
    }
    figure = example_rows(rows, title="digits")
    assert [text.get_text() for text in figure.texts] == ["digits", "first", "second"]
    first, gray, second = figure.axes
    assert first.texts[0].get_text() == "a"
    np.testing.assert_array_equal(first.get_images()[0].get_array(), IMAGE)
    np.testing.assert_array_equal(gray.get_images()[0].get_array(), IMAGE[..., 0])
    shown = second.get_images()[0].get_array()
    assert shown.min() == 0 and shown.max() == 1
    assert first.get_position().x0 < gray.get_position().x0
    assert first.get_position().y0 > second.get_position().y1


def test_boxes_and_masks_are_drawn_where_they_are():
    axes = example_rows({"row": [Picture(IMAGE, BOXES, MASK)]}, title="").axes[0]
    (box,) = axes.patches  # the empty one is left out
    assert (box.get_x(), box.get_y()) == (1.5, 0.5)
    assert (box.get_width(), box.get_height()) == (4, 4)
    (outline,) = axes.collections  # the ignored pixels have none
    vertices = np.concatenate([path.vertices for path in outline.get_paths()])
    assert vertices.min(axis=0).tolist() == [1.5, 0.5]
    assert vertices.max(axis=0).tolist() == [5.5, 4.5]
    assert axes.get_xlim() == (-0.5, 11.5) and axes.get_ylim() == (7.5, -0.5)


def test_texts_do_not_overlap():
    rows = {
        f"{'a long name of a row ' * 3}{i}": [Picture(IMAGE, caption="a long caption " * 3)] * 2
        for i in "ab"
    }
    figure = example_rows(rows, title="a title " * 20)
    FigureCanvasAgg(figure).draw()
    title, *names = (text.get_window_extent() for text in figure.texts)
    assert title.x0 >= 0 and title.x1 <= figure.bbox.x1
    assert title.y0 >= max(axes.get_window_extent().y1 for axes in figure.axes)
    assert names[0].y0 >= names[1].y1 and names[0].y1 <= title.y0
    assert max(name.x1 for name in names) <= min(
        axes.get_window_extent().x0 for axes in figure.axes
    )
    caption, beside = (axes.texts[0].get_window_extent() for axes in figure.axes[:2])
    assert caption.y0 >= figure.axes[2].get_window_extent().y1 and caption.x1 <= beside.x0


@pytest.mark.parametrize("rows", [{}, {"name": []}])
def test_what_is_missing_is_named(rows):
    with pytest.raises(ValueError, match="at least one row with at least one picture each"):
        example_rows(rows, title="")
