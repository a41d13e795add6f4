import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from cnn_jax.layers import (
    resize_bilinear,
    resize_from_corner,
    resize_nearest,
    resize_parts,
    subsample,
)
from tests.tolerance import assert_close

BILINEAR = [
    functools.partial(resize_bilinear, align_corners=align_corners, antialias=antialias)
    for align_corners in (False, True)
    for antialias in (False, True)
]


def column(*values):
    return jnp.array(values, jnp.float32)[None, :, None, None]


def test_nearest_takes_the_corner_or_the_centre():
    x = column(*range(5))
    assert resize_nearest(x, (3, 1)).ravel().tolist() == [0, 1, 3]
    assert resize_nearest(x, (3, 1), exact=True).ravel().tolist() == [0, 2, 4]
    assert resize_nearest(x, (10, 1)).ravel().tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_bilinear_keeps_corners_of_pixels_or_their_centres():
    x = column(0, 6)
    assert_close(resize_bilinear(x, (4, 1)), column(0, 1.5, 4.5, 6), rtol=1e-6)
    aligned = resize_bilinear(x, (4, 1), align_corners=True)
    assert_close(aligned, column(0, 2, 4, 6), rtol=1e-6)


@pytest.mark.parametrize(("image", "size"), [((5, 4), (7, 9)), ((9, 6), (4, 1)), ((1, 3), (2, 3))])
def test_from_the_corner_is_tensorflow_s_loop(image, size):
    """Its kernel (resize_bilinear_op.cc, scale as in image_resizer_state.h), pixel by pixel."""
    x = np.random.default_rng(0).random((*image, 2))
    expected = np.empty((*size, 2))
    for place in np.ndindex(size):
        corners = []
        for pixel, old, new in zip(place, image, size, strict=True):
            position = pixel * (np.float32(old) / np.float32(new))
            low = min(int(position), old - 1)
            corners.append((low, min(low + 1, old - 1), position - low))
        (top, bottom, down), (left, right, across) = corners
        above = x[top, left] + (x[top, right] - x[top, left]) * across
        below = x[bottom, left] + (x[bottom, right] - x[bottom, left]) * across
        expected[place] = above + (below - above) * down
    with jax.enable_x64(True):
        # Positions are computed in the image's dtype there, here in float64.
        assert_close(resize_from_corner(jnp.asarray(x[None]), size)[0], expected, rtol=1e-6)
    single = resize_from_corner(jnp.asarray(x[None], jnp.float32), size)
    assert_close(single[0], expected, rtol=1e-6)


def test_antialiasing_looks_at_every_pixel():
    """Without it, shrinking to a third sees one pixel in three."""
    x = column(0, 9, 0, 0, 9, 0, 0, 9, 0)
    assert_close(resize_bilinear(x, (3, 1)), column(9, 9, 9), rtol=1e-6)
    # Pixels weigh 1, 2, 3, 2, 1 around each position; the border has but four of them.
    expected = column(27 / 8, 3, 27 / 8)
    assert_close(resize_bilinear(x, (3, 1), antialias=True), expected, rtol=1e-6)


@pytest.mark.parametrize("resize", BILINEAR)
@pytest.mark.parametrize(("image", "size"), [((5, 4), (3, 9)), ((1, 6), (4, 1))])
def test_constants_stay(resize, image, size):
    x = jnp.full((1, *image, 2), 0.75)
    assert_close(resize(x, size), np.full((1, *size, 2), 0.75), rtol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (4, 5)])
def test_the_same_size_changes_nothing(size):
    x = jnp.asarray(np.random.default_rng(0).random((1, *size, 2)))
    np.testing.assert_array_equal(resize_nearest(x, size), x)
    np.testing.assert_array_equal(resize_nearest(x, size, exact=True), x)
    for resize in BILINEAR[:3]:  # PyTorch's antialiased aligned corners move
        assert_close(resize(x, size), x, rtol=1e-6)


def test_subsampling_takes_the_first_of_each_block():
    x = jnp.arange(20.0).reshape(1, 4, 5, 1)
    np.testing.assert_array_equal(subsample(x, (3, 2))[0, :, :, 0], [[0, 2, 4], [15, 17, 19]])


RESIZINGS = [
    *[
        functools.partial(resize, size=(4, 7))
        for resize in (resize_nearest, resize_from_corner, *BILINEAR)
    ],
    functools.partial(subsample, factor=2),
]


@pytest.mark.parametrize("resize", RESIZINGS)
def test_gradients_equal_finite_differences(resize):
    x = np.random.default_rng(0).standard_normal((2, 5, 6, 2))
    with jax.enable_x64(True):
        check_grads(jax.jit(resize), (x,), order=1, eps=1e-5)


@pytest.mark.parametrize("resize", RESIZINGS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_image_and_channel(resize, value):
    x = jnp.zeros((2, 4, 6, 2)).at[0, 2, 2, 0].set(value)
    y = resize(x)
    assert not np.isfinite(y[0, :, :, 0]).all()
    assert np.isfinite(y[1]).all() and np.isfinite(y[..., 1]).all()


@pytest.mark.parametrize("resize", RESIZINGS)
def test_an_empty_batch_and_a_single_pixel(resize):
    assert resize(jnp.ones((0, 3, 3, 2))).shape[0] == 0
    y = resize(jnp.ones((1, 1, 1, 2)))
    assert_close(y, np.ones(y.shape))


@pytest.mark.parametrize("resize", [resize_nearest, resize_bilinear])
def test_bfloat16_stays(resize):
    assert resize(jnp.ones((1, 3, 3, 1), jnp.bfloat16), 5).dtype == jnp.bfloat16


@pytest.mark.parametrize("resize", [resize_nearest, resize_bilinear])
def test_sizes_without_pixels_are_refused(resize):
    with pytest.raises(ValueError, match="an image of 4x5 and an output of 3x0"):
        resize(jnp.zeros((1, 4, 5, 1)), (3, 0))
    with pytest.raises(ValueError, match="an image of 0x5 and an output of 3x3"):
        resize(jnp.zeros((1, 0, 5, 1)), 3)


def test_a_factor_below_one_is_refused():
    with pytest.raises(ValueError, match=r"factor \(2, 0\) must be at least 1"):
        subsample(jnp.zeros((1, 4, 4, 1)), (2, 0))


def test_parts_of_a_canvas_are_resized_each_by_itself():
    """What lies beyond an image, here large numbers, does not matter."""
    sizes = [(5, 9), (8, 2), (1, 1)]
    with jax.enable_x64(True):
        x = jax.random.normal(jax.random.key(0), (3, 8, 9, 2), jnp.float64)
        inside = np.zeros(x.shape, bool)
        for image, (height, width) in zip(inside, sizes, strict=True):
            image[:height, :width] = True
        resized = jax.jit(resize_parts, static_argnums=2)(
            jnp.where(inside, x, 1e9), jnp.asarray(sizes), (7, 6)
        )
        for image, (height, width), actual in zip(x, sizes, resized, strict=True):
            assert_close(actual[None], resize_bilinear(image[None, :height, :width], (7, 6)))
