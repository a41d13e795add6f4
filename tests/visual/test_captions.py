import itertools

import numpy as np
import pytest

from cnn_jax.visual import CaptionedImage, caption_grid
from cnn_jax.visual.captions import WRONG
from cnn_jax.visual.style import GRAY, INK

IMAGE = np.zeros((8, 8, 3), np.uint8)


def written(*images, **options):
    figure = caption_grid(images, title="scenes", **options)
    return [(text.get_text(), text.get_color()) for text in figure.texts if text.get_text()]


def test_wrong_words_have_another_colour():
    words, right = ["a", "red", "circle", "here"], (True, False, False, True)
    assert written(CaptionedImage(IMAGE, words, right, "a blue square")) == [
        ("scenes", INK),
        ("a", INK),
        ("red circle", WRONG),
        ("here", INK),
        ("a blue square", GRAY),
    ]
    assert written(CaptionedImage(IMAGE, words))[1:] == [("a red circle here", INK)]
    assert written(CaptionedImage(IMAGE, []))[1:] == []


def test_long_captions_have_four_lines():
    lines = written(CaptionedImage(IMAGE, ["word"] * 100, reference="word " * 100))[1:]
    assert [color for _, color in lines] == [INK] * 4 + [GRAY] * 4
    assert lines[-1][0].endswith("…")


def test_words_follow_each_other_from_left_to_right():
    right = (True, False, True)
    figure = caption_grid([CaptionedImage(IMAGE, ["a", "green", "dot"], right)] * 2, title="")
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.texts if text.get_text()]
    for before, after in itertools.pairwise(boxes[:3]):
        assert 0 < after.x0 - before.x1 < 10
    assert boxes[3].x0 > figure.axes[1].get_window_extent().x0 - 2


@pytest.mark.usefixtures("no_shape_hook")
def test_what_cannot_be_drawn():
    with pytest.raises(ValueError, match="at least one image and column, got 0 and 4"):
        caption_grid([], title="")
    with pytest.raises(ValueError, match="a caption of 2 words needs as many values .* got 1"):
        caption_grid([CaptionedImage(IMAGE, ["a", "b"], (True,))], title="")
