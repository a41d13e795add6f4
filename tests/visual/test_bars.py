from itertools import pairwise

import pytest

from cnn_jax.visual import grouped_bars, save_figure

GROUPS = {"30": {"PCA": 12.0, "network": 6.0, "other": 5.0}, "2": {"PCA": 46.0, "network": 27.0}}


def test_every_value_is_a_bar_from_zero_with_its_number_above(tmp_path):
    figure = grouped_bars(GROUPS, ylabel="error", title="digits, test")
    (axes,) = figure.axes
    heights = [bar.get_height() for bar in axes.patches]
    assert heights == [12, 6, 5, 46, 27] and axes.get_ylim()[0] == 0
    assert [text.get_text() for text in axes.texts] == ["12.0", "6.0", "5.0", "46.0", "27.0"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["30", "2"]
    assert figure.get_suptitle() == "digits, test" and axes.get_ylabel() == "error"
    save_figure(figure, tmp_path / "bars.png")


def test_a_method_has_one_colour_and_one_line_in_the_legend():
    figure = grouped_bars(GROUPS, ylabel="", title="")
    colors = [bar.get_facecolor() for bar in figure.axes[0].patches]
    assert colors[0] == colors[3] != colors[1] == colors[4]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "PCA",
        "network",
        "other",
    ]


def test_bars_do_not_overlap_and_groups_stand_apart():
    bars = grouped_bars(GROUPS, ylabel="", title="").axes[0].patches
    gaps = [b.get_x() - a.get_x() - a.get_width() for a, b in pairwise(bars)]
    assert min(gaps) > 0 and max(gaps) == gaps[2] > 2 * gaps[0]


def test_nothing_to_draw_is_said():
    with pytest.raises(ValueError, match="at least one value each"):
        grouped_bars({}, ylabel="", title="")
    with pytest.raises(ValueError, match="at least one value each"):
        grouped_bars({"30": {}}, ylabel="", title="")
