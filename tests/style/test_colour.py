"""Colours that stay: by luminance alone, and by matching."""

import numpy as np
import pytest

from cnn_jax.style import (
    luminance,
    match_colours,
    match_histograms,
    match_luminance,
    with_luminance,
)
from tests.references.weights import digest
from tests.tolerance import assert_close

YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def draw(seed, *shape):
    return np.random.default_rng(seed).uniform(0, 1, (*shape, 3)) ** (seed + 1)


def test_luminance_is_that_of_yiq():
    image = draw(0, 3, 4)
    assert_close(luminance(image), np.repeat((image @ YIQ.T)[..., :1], 3, axis=-1))


def test_the_colours_stay_and_the_luminance_changes():
    image, gray = draw(0, 3, 4), luminance(draw(1, 3, 4))
    mixed = with_luminance(image, gray)
    assert_close((mixed @ YIQ.T)[..., 0], gray[..., 0])
    # The rows of I and Q are published to three digits.
    assert_close((mixed @ YIQ.T)[..., 1:], (image @ YIQ.T)[..., 1:], atol=2e-3)
    assert_close(with_luminance(image, luminance(image)), image)


def test_matched_luminance_has_mean_and_deviation_of_the_other():
    gray, other = luminance(draw(1, 6, 5)), luminance(draw(0, 3, 4))
    matched = match_luminance(gray, other)
    assert_close([matched.mean(), matched.std()], [other.mean(), other.std()], rtol=1e-5)


def test_matched_colours_have_mean_and_covariance_of_the_other():
    image, other = draw(2, 40, 30), draw(0, 20, 50)
    matched = match_colours(image, other).reshape(-1, 3)
    assert_close(matched.mean(axis=0), other.reshape(-1, 3).mean(axis=0))
    assert_close(np.cov(matched.T), np.cov(other.reshape(-1, 3).T), rtol=2e-3)
    assert_close(match_colours(other, other), other)


# The values of scikit-image 0.26's `match_histograms` at the indices of a record.
HISTOGRAMS = {
    "any": [
        *(0.288330757008, 0.158997215581, 0.0134162993736, 0.00785539800867),
        *(0.449045178511, 0.435999708961, 0.27821301137, 0.438481625664),
    ],
    "bytes": [
        *(0.300217864924, 0.186764705882, 0.11339869281, 0.111111111111),
        *(0.449112978525, 0.437472766885, 0.281917211329, 0.441176470588),
    ],
}


def pictures(values):
    """Two pictures of any values, or of those of bytes, of which many are equal."""
    both = draw(2, 40, 30), draw(0, 20, 50)
    return [np.round(one * 255) / 255 if values == "bytes" else one for one in both]


@pytest.mark.parametrize("values", HISTOGRAMS)
def test_matched_histograms_are_those_of_scikit_image(values):
    matched = match_histograms(*pictures(values))
    assert_close(digest(matched)["values"], HISTOGRAMS[values])


@pytest.mark.parametrize("values", HISTOGRAMS)
def test_matched_histograms_equal_scikit_image_itself(values):
    exposure = pytest.importorskip("skimage.exposure", reason="scikit-image is not installed")
    image, other = pictures(values)
    expected = exposure.match_histograms(image, other, channel_axis=-1)
    assert_close(match_histograms(image, other), expected)


def test_matched_histograms_have_the_values_of_the_other():
    """Of as many pixels without equal ones: all of them, in the order of the image's own."""
    image, other = draw(2, 10, 12), draw(0, 15, 8)
    matched = match_histograms(image, other).reshape(-1, 3)
    assert_close(np.sort(matched, axis=0), np.sort(other.reshape(-1, 3), axis=0))
    order = np.argsort(image.reshape(-1, 3), axis=0)
    np.testing.assert_array_equal(np.argsort(matched, axis=0), order)
    assert_close(match_histograms(other, other), other)


def test_one_colour_alone_is_no_division_by_zero():
    flat, other = np.full((3, 3, 3), 0.2), draw(0, 4, 4)
    mean = np.broadcast_to(other.mean(axis=(0, 1)), flat.shape)
    assert_close(match_colours(flat, other), mean, atol=1e-9)
    assert_close(match_luminance(flat, other), np.full_like(flat, other.mean()), atol=1e-9)
