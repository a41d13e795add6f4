import numpy as np
import pytest

from cnn_jax.visual import change_over_shift


def test_features_have_one_look_in_all_panels():
    panels = {"same": {"none": [0, 0.5], "pooled": [0, 0.1]}, "moved": {"pooled": [0, 0.2]}}
    figure = change_over_shift([0, 3], panels, title="photographs")
    assert figure.get_suptitle() == "photographs"
    same, moved = figure.axes
    assert [axes.get_title() for axes in (same, moved)] == ["same", "moved"]
    none, pooled = same.lines
    np.testing.assert_array_equal(none.get_xydata(), [[0, 0], [3, 50]])
    assert none.get_color() != pooled.get_color() == moved.lines[0].get_color()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["none", "pooled"]


def test_what_does_not_fit_is_named():
    for panels in ({}, {"same": {}}):
        with pytest.raises(ValueError, match="at least one curve each"):
            change_over_shift([0], panels, title="")
    with pytest.raises(ValueError, match="'none' has 2 changes for 1 shifts"):
        change_over_shift([0], {"same": {"none": [0, 1]}}, title="")
