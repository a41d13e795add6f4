import numpy as np
import pytest
from matplotlib.text import Text

from cnn_jax.visual import Panel, Prediction, panel_sheet, signed_image, strongest_maps

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
PREDICTION = Prediction(IMAGE, "a very long name of a file " * 9, ["cat", "dog"], [0.75, 0.25])
HEAT = np.linspace(0, 2, 600, dtype=np.float32).reshape(20, 30)


def overlaps(figure):
    """Pairs of texts, and pairs of pictures, that lie over each other."""
    figure.canvas.draw()
    whole = figure.bbox.padded(1)
    pairs = []
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    # The ticks of a colour bar outside of its range are there and not drawn.
    texts = [text for text in texts if text.get_window_extent().width > 1]
    for things in (texts, figure.axes):
        boxes = [thing.get_window_extent() for thing in things]
        assert all(whole.containsx(box.x0) and whole.containsx(box.x1) for box in boxes)
        assert all(whole.containsy(box.y0) and whole.containsy(box.y1) for box in boxes)
        pairs += [
            (things[i], things[j])
            for i, box in enumerate(boxes)
            for j in range(i)
            if box.padded(-1).overlaps(boxes[j].padded(-1))
        ]
    return pairs


@pytest.mark.parametrize("title", ["short", "a title of many words " * 20])
def test_nothing_lies_over_another(title):
    gray = IMAGE[..., :1].repeat(3, axis=0)  # taller than wide
    panels = [
        Panel("words " * 30, IMAGE, 1e-14 * HEAT, "probability of the class"),
        Panel("second", gray),
        Panel("wide", np.ones((5, 40, 3), np.float32)),
    ]
    figure = panel_sheet(PREDICTION, [panels[:2], [], panels], title=title)
    assert overlaps(figure) == []
    # The image and its bars; two panels and three, one of each with a colour bar.
    assert len(figure.axes) == 2 + (2 + 1) + (3 + 1)


def test_the_colours_of_a_map_are_those_of_its_bar():
    edge = np.zeros((20, 30, 3), np.uint8)
    edge[:, 15:] = 255
    panel = Panel("heat", edge, HEAT, "units", from_zero=False)
    figure = panel_sheet(PREDICTION, [[panel]], title="")
    heat, outlines = figure.axes[2].get_images()
    np.testing.assert_array_equal(heat.get_array(), HEAT)
    assert heat.get_clim() == (0, 2) and heat.get_alpha() is None
    # Only the edge in the middle is drawn over the map, opaque too.
    drawn = ~np.ma.getmaskarray(outlines.get_array())
    assert drawn[:, 148:152].any(axis=1).all() and not drawn[:, :147].any()
    assert drawn.sum(axis=1).max() <= 2
    assert outlines.get_extent() == heat.get_extent() and outlines.get_alpha() is None
    bar = figure.axes[3]
    assert bar.get_ylabel() == "units"
    assert {mesh.get_cmap().name for mesh in bar.collections if mesh.get_array() is not None} == {
        heat.get_cmap().name
    }
    assert all(mesh.get_alpha() is None for mesh in bar.collections)


def test_a_map_without_range_or_image_without_edges_is_drawn():
    plain = np.full_like(IMAGE, 128)
    for heat, limits in ((HEAT + 1, (0, 3)), (np.zeros_like(HEAT), (0, 1))):
        figure = panel_sheet(PREDICTION, [[Panel("heat", plain, heat)]], title="")
        assert figure.axes[2].get_images()[0].get_clim() == limits


def test_zero_is_middle_gray():
    gradient = np.array([[[-2.0], [0.0], [1.0]]])
    np.testing.assert_allclose(signed_image(gradient, quantile=1)[0, :, 0], [0, 0.5, 0.75])
    assert np.all(signed_image(np.zeros((2, 2, 3))) == 0.5)
    one = np.zeros((50, 50, 1))
    one[0, 0] = 3
    assert signed_image(one)[0, 0] == 1  # most are zero, and so is the quantile


def test_the_strongest_maps_come_first_each_with_its_own_range():
    maps = np.zeros((2, 2, 5), np.float32)
    maps[..., 1] = [[-8, -8], [-8, 0]]
    maps[..., 3] = [[0, 2], [4, 4]]
    maps[..., 4] = 1
    shown = strongest_maps(maps, count=3)
    assert shown.shape == (2, 3 * 2 + 2, 1)  # a gap of one pixel
    np.testing.assert_array_equal(shown[:, :2, 0], [[0, 0], [0, 1]])
    np.testing.assert_array_equal(shown[:, 3:5, 0], [[0, 0.5], [1, 1]])
    np.testing.assert_array_equal(shown[:, 6:, 0], [[0, 0], [0, 0]])
    assert np.all(shown[:, [2, 5]] == 1)
