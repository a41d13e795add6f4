"""Polygons and run lengths: by hand, and pixel by pixel against pycocotools."""

import numpy as np
import pytest

from cnn_jax.data.rasters import (
    check_polygon,
    check_run_lengths,
    compressed,
    decompressed,
    instance_ids,
    polygon_mask,
    run_length_mask,
    run_lengths,
)


def polygons(count):
    """Random polygons: partly outside, with corners on whole pixels, repeated or on the border."""
    rng = np.random.default_rng(0)
    for number in range(count):
        height, width = rng.integers(1, 40, 2).tolist()
        points = rng.normal(size=(rng.integers(3, 9), 2)) * [width, height] * 0.6
        points += [width / 2, height / 2]
        points = points.round() if number % 3 == 0 else points
        points[1] = points[0] if number % 5 == 0 else points[1]
        yield (points.clip(0, [width, height]) if number % 7 == 0 else points), (height, width)


def test_equal_to_pycocotools():
    mask = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    for points, size in polygons(200):
        encoded = mask.frPyObjects([points.ravel().tolist()], *size)
        expected = mask.decode(encoded)[..., 0].astype(bool)
        np.testing.assert_array_equal(polygon_mask(points, size), expected)
        counts = decompressed(encoded[0]["counts"].decode())
        check_run_lengths(counts, size)
        np.testing.assert_array_equal(run_length_mask(counts, size), expected)
        again = mask.encode(np.asfortranarray(expected.astype(np.uint8)))
        assert compressed(run_lengths(expected)) == again["counts"].decode()


def test_a_rectangle_covers_its_pixels():
    expected = np.zeros((5, 6), bool)
    expected[1:4, 2:5] = True
    corners = np.array([[2.0, 1], [5, 1], [5, 4], [2, 4]])
    np.testing.assert_array_equal(polygon_mask(corners, (5, 6)), expected)
    np.testing.assert_array_equal(polygon_mask(corners[::-1], (5, 6)), expected)


def test_run_lengths_go_down_the_columns():
    expected = [[False, True], [True, True], [True, False]]
    assert run_length_mask([1, 4, 1], (3, 2)).tolist() == expected
    for counts in ([1, 4], [1, 4, 2], [8, -2], []):
        with pytest.raises(ValueError, match="run lengths add up to .*, expected 6 pixels"):
            check_run_lengths(counts, (3, 2))


def test_compressed_run_lengths():
    assert decompressed("") == [] and decompressed("1O") == [1, -1]
    # From the fourth number on it is the difference to the last but one.
    assert decompressed("3512") == [3, 5, 1, 7]
    for text, expected in (("é", "have the character"), (" ", "character"), ("P", "end inside")):
        with pytest.raises(ValueError, match=expected):
            decompressed(text)
    with pytest.raises(ValueError, match="have the character"):
        decompressed("o" * 100)


def test_run_lengths_of_masks_and_back():
    rng = np.random.default_rng(0)
    for share in (0, 0.02, 0.5, 1):
        mask = rng.random((300, 40)) < share
        counts = run_lengths(mask)
        assert decompressed(compressed(counts)) == counts
        np.testing.assert_array_equal(run_length_mask(counts, mask.shape), mask)
    assert (
        run_lengths(np.array([[True, False]])) == [0, 1, 1] and compressed([3, 5, 1, 7]) == "3512"
    )


def test_several_polygons_and_objects():
    square = np.array([[0.0, 0], [2, 0], [2, 2], [0, 2]])
    two_parts, whole = [square, square + 2], np.array([0, 16])
    ids = instance_ids([two_parts, whole], (4, 4))
    np.testing.assert_array_equal(ids, 2 - np.kron(np.eye(2, dtype=int), np.ones((2, 2), int)))


def test_polygons_that_cannot_be_followed():
    with pytest.raises(ValueError, match="its polygon has 2 corners, expected 3 or more"):
        check_polygon(np.zeros((2, 2)), (4, 4))
    for far in (9.0, -5.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="far outside of the image of 4x4 pixels"):
            check_polygon(np.array([[0, 0], [far, 0], [1, 1]]), (4, 4))
