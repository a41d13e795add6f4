"""An image becomes what torchvision's preset makes of it."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from cnn_jax.data.decode import centre_square, decode_image
from cnn_jax.data.tfds_writer import encode_png
from cnn_jax.errors import UserError
from cnn_jax.pretrained import Preprocessing
from tests.references.preprocessing import CASES, image
from tests.references.record_preprocessing import torchvisions
from tests.references.weights import digest
from tests.tolerance import assert_close

RECORDS = Path(__file__).parents[1] / "references" / "preprocessing.json"


def ours(case):
    return Preprocessing(case.resize, case.crop, interpolation=case.interpolation)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_the_record_of_torchvision(case):
    expected = json.loads(RECORDS.read_text())[str(case)]
    result = ours(case)(image(case))
    assert result.dtype == np.float32
    actual = digest(result)
    assert actual["shape"] == expected["shape"]
    assert_close(actual["values"], expected["values"], rtol=1e-6)
    assert_close(actual["norm"], expected["norm"], rtol=1e-6)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_torchvision_itself(case):
    pytest.importorskip("torch", reason="torch is not installed")
    try:
        expected = torchvisions(case)
    except ImportError as error:
        pytest.skip(f"torchvision cannot be imported (set CNN_JAX_TORCHVISION_CPU?): {error}")
    preprocessing = ours(case)
    pixels = expected * np.asarray(preprocessing.std) + np.asarray(preprocessing.mean)
    assert_array_equal(
        preprocessing.resize_and_crop(image(case)), np.rint(pixels * 255).astype(np.uint8)
    )
    assert np.abs(preprocessing(image(case)) - expected).max() <= 1e-6


def test_by_hand():
    # 2x6 pixels of one colour each: nothing to interpolate; the two columns in the centre stay.
    columns = np.arange(6, dtype=np.uint8) * 10
    strip = np.broadcast_to(columns[None, :, None], (2, 6, 3)).copy()
    preprocessing = Preprocessing(2, 2, mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 2.0))
    expected = np.broadcast_to(columns[None, 2:4, None], (2, 2, 3))
    assert_array_equal(preprocessing.resize_and_crop(strip), expected)
    scaled = expected / 255
    assert_close(
        preprocessing(strip), (scaled - np.array([0, 0.5, 1])) / np.array([1, 0.5, 2]), rtol=1e-6
    )


def test_what_is_missing_is_black():
    white = np.full((4, 2, 3), 255, np.uint8)
    padded = Preprocessing(2, 5).resize_and_crop(white)
    # A column more on the right than on the left; of the four rows none is lost.
    assert_array_equal(padded[..., 0], [[0, 255, 255, 0, 0]] * 4 + [[0, 0, 0, 0, 0]])


@pytest.mark.parametrize(("height", "width"), [(20, 30), (31, 9), (8, 8), (3, 5)])
def test_without_a_size_the_crop_is_filled(height, width):
    image = np.full((height, width, 3), (10, 20, 30), np.uint8)
    color = Preprocessing(0, 8, (0.1, 0.2, 0.3), (0.5, 1.0, 2.0))
    assert color.image_shape == (8, 8, 3)
    assert np.all(color.resize_and_crop(image) == (10, 20, 30))
    expected = (np.array([10, 20, 30]) / 255 - color.mean) / color.std
    assert_close(color(image), np.broadcast_to(expected, (8, 8, 3)), rtol=1e-5)
    wide = Preprocessing(0, (4, 12), (0.0,), (1.0,))
    assert wide.image_shape == wide(image).shape == (4, 12, 1)
    assert np.ptp(wide(image)) == 0


def test_a_larger_shorter_side_shows_the_center():
    image = np.zeros((32, 32, 3), np.uint8)
    image[8:24, 8:24] = 255
    assert Preprocessing(16, 8).resize_and_crop(image).min() > 190
    assert Preprocessing(0, 8).resize_and_crop(image).min() == 0


@pytest.mark.parametrize(("resize", "shorter"), [(0, 8), (13, 13)])
def test_a_run_sees_what_its_data_set_gave_it(resize, shorter):
    random = np.random.default_rng(0)
    for shape in ((20, 33, 3), (31, 9, 3), (8, 8, 3), (40, 41, 3)):
        image = random.integers(0, 256, shape, dtype=np.uint8)
        expected = decode_image(encode_png(image), 3, centre_square(8, shorter))
        assert_array_equal(Preprocessing(resize, 8).resize_and_crop(image), expected)


@pytest.mark.parametrize(
    "fields",
    [{"std": (0.0, 1.0, 1.0)}, {"std": (1.0,)}, {"crop": -1}, {"crop": (8, 0)}, {"resize": -1}],
)
def test_values_that_make_no_image_are_refused(fields):
    with pytest.raises(UserError, match=r"got \(|got 0|got -1"):
        Preprocessing(**fields)


def test_without_a_crop_the_whole_image_is_kept():
    """torchvision's `SemanticSegmentation` resizes the shorter side only."""
    image = np.random.default_rng(0).integers(0, 256, (30, 47, 3)).astype(np.uint8)
    scaled = Preprocessing(resize=20, crop=0)
    assert scaled.image_shape == (20, 20, 3)
    cropped = Preprocessing(resize=20, crop=(20, 31)).resize_and_crop(image)
    np.testing.assert_array_equal(scaled.resize_and_crop(image), cropped)
    np.testing.assert_array_equal(Preprocessing(resize=0, crop=0).resize_and_crop(image), image)
