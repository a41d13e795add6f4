import numpy as np
import pytest

from cnn_jax.visual import gradients_through_time, loss_curves, text_sheet
from cnn_jax.visual.language import COLUMNS, LINES
from cnn_jax.visual.style import NothingToDraw


def row(step, loss, split="validation"):
    return {"step": step, "split": split, "loss": loss}


def test_the_validation_loss_of_each_run():
    runs = {"lstm": [row(1, 2.0), row(2, 1.5), row(2, 9.0, "train")], "rnn": [row(1, 3.0)]}
    (axes,) = loss_curves(runs, ylabel="nats", title="text").axes
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert drawn == {
        "lstm, 1.500 at best": [[1, 2.0], [2, 1.5]],
        "rnn, 3.000 at best": [[1, 3.0]],
    }
    assert axes.get_ylabel() == "nats"
    with pytest.raises(NothingToDraw, match="none of the runs lstm has a validation loss"):
        loss_curves({"lstm": [row(1, 1.0, "train")]}, ylabel="", title="")


def test_gradients_are_relative_to_that_of_the_last_step():
    (axes,) = gradients_through_time({"lstm": np.array([4.0, 2.0, 0.0])}, title="").axes
    assert axes.get_yscale() == "log"
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [1.0, 0.5, np.nan])
    with pytest.raises(NothingToDraw, match="'rnn' has no gradient by its last input"):
        gradients_through_time({"rnn": np.zeros(3)}, title="")


def test_a_text_is_broken_and_cut_and_shows_what_cannot_be_seen():
    (axes,) = text_sheet("who?\n", "a" * (COLUMNS + 1) + "\x00\n\n$x$" + "\n" * 99, title="").axes
    lines = [text.get_text() for text in axes.texts]
    assert lines[:6] == ["who?", "", "a" * COLUMNS, "a\ufffd", "", "$x$"]
    assert len(lines) == 2 + LINES
    assert axes.texts[0].get_color() != axes.texts[2].get_color()
