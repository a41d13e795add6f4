import numpy as np
import pytest

from cnn_jax.visual import (
    SegmentedImage,
    class_colours,
    class_scores,
    overlaid,
    painted,
    segmentation_rows,
)

IMAGE = np.full((4, 6, 3), 100, np.uint8)
MASK = np.array([[0, 1, 2, 1, 0, 255]] * 4)


def test_every_class_has_its_own_colour():
    for count in (1, 20, 150):
        colours = class_colours([str(number) for number in range(count)])
        assert colours.shape == (count, 3) and colours.dtype == np.uint8
        assert len(np.unique(colours, axis=0)) == count
    dark = class_colours(["sky", "background", "road"])
    assert dark[1].tolist() == [58, 58, 58]
    assert dark[::2].tolist() == class_colours(["sky", "road"]).tolist()


def test_masks_are_painted_and_laid_over_images():
    colours = class_colours(["a", "b", "c"])
    pixels = painted(MASK, colours)
    assert pixels[0, 1].tolist() == colours[1].tolist()
    assert pixels[0, 5].tolist() == [255, 255, 255]
    over = overlaid(IMAGE, MASK, colours, opacity=0.25)
    assert over[0, 2].tolist() == np.round(75 + 0.25 * colours[2]).tolist()
    assert over[0, 5].tolist() == [100, 100, 100]
    gray = overlaid(IMAGE[..., :1], MASK, colours, opacity=0.25)
    assert np.array_equal(gray, over)


def test_columns_and_legend():
    one = SegmentedImage(IMAGE, MASK, {"prediction": np.zeros((4, 6), int)}, "worst")
    figure = segmentation_rows([one, one], ["a", "b", "c", "absent"], title="")
    assert len(figure.axes) == 8
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["a", "b", "c", "not counted"]
    wrong = figure.axes[3].images[0].get_array()
    right = np.asarray(MASK == 0)
    # Wrong pixels are coloured, right ones gray, those without a class white.
    spread = np.ptp(wrong, axis=-1)
    assert np.array_equal(spread > 0.1, ~right & (MASK != 255)) and np.all(wrong[:, 5] == 1)
    with pytest.raises(ValueError, match="at least one segmented image"):
        segmentation_rows([], ["a"], title="")


@pytest.mark.parametrize(
    ("truth", "names", "outlined"),
    [(MASK, ["x"], [0, 1, 1, 0]), (MASK, ["x", "y"], [0, 1, 1, 1]), (None, ["x", "y"], [0, 1, 1])],
)
def test_masks_are_outlined(truth, names, outlined):
    one = SegmentedImage(IMAGE, truth, {name: MASK for name in names})
    figure = segmentation_rows([one], ["a", "b", "c"], title="", outlines=True)
    # One contour for each of three classes.
    assert [len(axes.collections) for axes in figure.axes] == [3 * each for each in outlined]


def test_scores_need_a_value_for_each_class():
    with pytest.raises(ValueError, match="'IoU' has 1 values for 2 classes"):
        class_scores(["a", "b"], {"IoU": [0.5]}, title="")
