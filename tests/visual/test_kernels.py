import numpy as np
import pytest

from cnn_jax.visual import kernel_responses

KERNEL = np.array([[0.25, -1.0], [0.0, 2.0]], np.float32)


def test_kernels_have_numbers_and_responses_their_scale():
    responses = {
        "colour": np.full((4, 6, 3), 1.5, np.float32),
        "signed": np.linspace(-1, 3, 24, dtype=np.float32).reshape(4, 6, 1),
    }
    figure = kernel_responses(dict.fromkeys(responses, KERNEL), responses, title="photograph")
    kernel, colour, _, signed = figure.axes
    assert [text.get_text() for text in kernel.texts] == [".25", "-1", "0", "2"]
    assert [axes.get_title() for axes in (colour, signed)] == ["colour", "signed"]
    assert colour.get_images()[0].get_array().max() == 1
    low, high = signed.get_images()[0].get_clim()
    assert -low == high and 2.5 < high <= 3


def test_what_does_not_fit_is_named():
    image = np.zeros((4, 6, 2), np.float32)
    for kernels, responses in (({}, {}), ({"a": KERNEL}, {"b": image})):
        with pytest.raises(ValueError, match="responses of the same names"):
            kernel_responses(kernels, responses, title="")
    with pytest.raises(ValueError, match="response 'a' has 2 channels, expected 1 or 3"):
        kernel_responses({"a": KERNEL}, {"a": image}, title="")
