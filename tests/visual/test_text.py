import pytest

from cnn_jax.visual.text import cut, text_width, wrap

SIZE = 8.0


@pytest.mark.parametrize("width", [0.8, 1.0, 1.35, 2.0])
def test_a_file_name_is_broken_after_punctuation_and_not_inside_a_number(width):
    lines = wrap("IMG_20231105_123456789.jpg", width=width, size=SIZE).split("\n")
    assert "".join(lines) == "IMG_20231105_123456789.jpg"
    assert all(text_width(line, size=SIZE) <= width for line in lines)
    assert all(line.endswith(("_", ".")) for line in lines[:-1])
    assert "0.0625" in wrap("rates:0.0625;and0.125", width=0.8, size=SIZE).split("\n")[-2]


def test_words_are_kept_whole_where_they_fit_and_broken_anywhere_where_nothing_else_fits():
    assert wrap("taken for a cat", width=0.8, size=SIZE) == "taken for a\ncat"
    lines = wrap("n" + 30 * "7", width=0.5, size=SIZE).split("\n")
    assert len(lines) > 3 and all(text_width(line, size=SIZE) <= 0.5 for line in lines)


def test_a_cut_does_not_end_with_the_beginning_of_a_number():
    cuts = {cut("photo_20231105.jpg", width=width / 10, size=SIZE) for width in range(4, 13)}
    assert cuts >= {"photo_…", "photo_20231105.jpg"}
    assert not any(text.removesuffix("…")[-1].isdigit() for text in cuts - {"photo_20231105…"})
