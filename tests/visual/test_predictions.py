import numpy as np
import pytest

from cnn_jax.visual import Prediction, prediction_sheet, save_figure

RGB = np.zeros((30, 40, 3), np.uint8)
GRAY = np.zeros((8, 8, 1), np.uint8)
ONE = Prediction(RGB, "a.jpg", ["cat", "dog"], [0.75, 0.25])


def test_every_image_has_its_name_and_its_bars(tmp_path):
    other = Prediction(GRAY, "b.png", ["dog", "cat"], np.float32([0.9, 0.1]))
    figure = prediction_sheet([ONE, other, ONE], title="resnet18")
    assert [text.get_text() for text in figure.texts] == ["resnet18", "a.jpg", "b.png", "a.jpg"]
    assert len(figure.axes) == 6
    bars = figure.axes[3]
    assert [bar.get_width() for bar in bars.patches[:2]] == pytest.approx([0.9, 0.1])
    assert [text.get_text() for text in bars.texts] == ["dog", "90.0%", "cat", "10.0%"]
    save_figure(figure, tmp_path / "sheet.png")


def test_bars_lie_beside_their_image_and_rows_below_each_other():
    boxes = [axes.get_position() for axes in prediction_sheet([ONE] * 3, title="").axes]
    assert all(min(box.x0, box.y0) >= 0 and max(box.x1, box.y1) <= 1 for box in boxes)
    for image, bars in zip(boxes[::2], boxes[1::2], strict=True):
        assert image.x1 < bars.x0 and image.y1 == pytest.approx(bars.y1)
    assert boxes[1].x1 < boxes[2].x0
    assert boxes[4].y1 < boxes[0].y0 and boxes[4].x1 == pytest.approx(boxes[0].x1)


def test_long_names_are_cut():
    long = Prediction(RGB, "photograph" * 20, ["a very long name of a class" * 3], [1.0])
    figure = prediction_sheet([long], title="")
    name, label = figure.texts[1].get_text(), figure.axes[1].texts[0].get_text()
    assert name.startswith("photographp") and name.endswith("…") and len(name) < 60
    assert label.startswith("a very long") and label.endswith("…") and len(label) < 45


def test_what_does_not_fit_is_said():
    with pytest.raises(ValueError, match="at least one prediction and column, got 0 and 2"):
        prediction_sheet([], title="")
    with pytest.raises(ValueError, match="got 1 and 0"):
        prediction_sheet([ONE], title="", columns=0)
    for classes, probabilities in ((["cat"], [0.5, 0.5]), ([], [])):
        with pytest.raises(ValueError, match=r"a\.jpg has \d classes and"):
            prediction_sheet([Prediction(RGB, "a.jpg", classes, probabilities)], title="")
