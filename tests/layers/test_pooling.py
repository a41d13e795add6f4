import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jax import lax
from jax.test_util import check_grads

from cnn_jax.layers import (
    adaptive_avg_pool,
    avg_pool,
    global_avg_pool,
    global_max_pool,
    max_pool,
    max_pool_with_indices,
)
from cnn_jax.layers.window_maximum import Windows, _scatter_on_accelerators
from tests.tolerance import assert_close


def windows(x, window, stride, padding, fill):
    """Values under each position: [batch, out height, out width, channels, area]."""
    x = np.pad(x, ((0, 0), *padding, (0, 0)), constant_values=fill)
    view = np.lib.stride_tricks.sliding_window_view(x, window, axis=(1, 2))
    view = view[:, :: stride[0], :: stride[1]]
    return view.reshape(*view.shape[:4], -1)


@st.composite
def poolings(draw):
    pairs = st.tuples
    window = draw(pairs(st.integers(1, 4), st.integers(1, 4)))
    padding = draw(pairs(*[pairs(*[st.integers(0, k // 2)] * 2) for k in window]))
    image = draw(pairs(st.integers(1, 9), st.integers(1, 9)))
    for n, k, p in zip(image, window, padding, strict=True):
        assume(k <= n + sum(p))
    stride = draw(st.none() | pairs(st.integers(1, 3), st.integers(1, 3)))
    return (draw(st.integers(1, 2)), *image, draw(st.integers(1, 3))), window, stride, padding


@settings(max_examples=20, deadline=None, derandomize=True)
@given(poolings())
def test_values_are_those_of_the_definition(case):
    shape, window, stride, padding = case
    # All negative: padding with zeros instead of -inf would show.
    x = -np.random.default_rng(0).random(shape)
    steps = window if stride is None else stride
    under = windows(x, window, steps, padding, fill=np.nan)
    with jax.enable_x64(True):
        maxima, with_pad, without_pad = jax.jit(
            lambda x: (
                max_pool(x, window, stride, padding),
                avg_pool(x, window, stride, padding),
                avg_pool(x, window, stride, padding, count_include_pad=False),
            )
        )(x)
    assert_close(maxima, np.nanmax(under, -1))
    assert_close(with_pad, windows(x, window, steps, padding, fill=0).mean(-1))
    assert_close(without_pad, np.nanmean(under, -1))


def test_sizes_are_pytorch_s():
    """One number stands for both axes; the last position that does not fit is left out."""
    x = jnp.zeros((2, 112, 113, 3))
    assert max_pool(x, 3, 2, 1).shape == (2, 56, 57, 3)
    assert max_pool(x, 3).shape == (2, 37, 37, 3)
    assert avg_pool(x, (2, 3), stride=2).shape == (2, 56, 56, 3)
    assert global_avg_pool(x).shape == global_max_pool(x).shape == (2, 3)


@pytest.mark.parametrize(
    ("size", "window", "stride", "padding", "floor", "ceil"),
    [
        (112, 3, 2, 0, 55, 56),
        (112, 3, 2, 1, 56, 57),
        (113, 3, 2, 1, 57, 57),  # a window at 113 would begin in the padding
        (6, 2, 2, 1, 4, 4),  # and so would one at 7
        (2, 4, 3, 0, None, 1),  # PyTorch's, too: larger than the image, by less than the stride
    ],
)
def test_ceil_mode_counts_windows_that_begin_in_the_image(
    size, window, stride, padding, floor, ceil
):
    x = jnp.zeros((1, size, size, 1))
    for pool in (max_pool, avg_pool, max_pool_with_indices):
        for mode, expected in ((True, ceil), (False, floor)):
            if expected is None:
                continue
            at = functools.partial(
                pool, window=window, stride=stride, padding=padding, ceil_mode=mode
            )
            result = jax.eval_shape(at, x)
            assert jax.tree.leaves(result)[0].shape == (1, expected, expected, 1)


def test_what_an_average_divides_by():
    """Padding counts or not; what lies beyond it, under the last window, never does."""
    x = jnp.ones((1, 6, 1, 1))
    arguments = (x, (4, 1), (3, 1), (1, 0))
    # Windows of rows -1 … 2, 2 … 5 and 5 … 8; padding is rows -1 and 6.
    included = avg_pool(*arguments, ceil_mode=True)
    assert_close(included.ravel(), np.array([3 / 4, 1, 1 / 2]), rtol=1e-6)
    excluded = avg_pool(*arguments, ceil_mode=True, count_include_pad=False)
    assert_close(excluded.ravel(), np.ones(3), rtol=1e-6)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(*[st.tuples(st.integers(1, 9), st.integers(1, 9))] * 2)
def test_adaptive_bins_are_those_of_the_definition(image, bins):
    x = np.random.default_rng(0).standard_normal((2, *image, 3))
    expected = np.zeros((2, *bins, 3))
    for i, j in np.ndindex(bins):
        (top, bottom), (left, right) = (
            (k * n // m, -(-(k + 1) * n // m)) for k, n, m in zip((i, j), image, bins, strict=True)
        )
        expected[:, i, j] = x[:, top:bottom, left:right].mean((1, 2))
    with jax.enable_x64(True):
        assert_close(adaptive_avg_pool(jnp.asarray(x), bins), expected)


def test_indices_point_at_the_first_maximum():
    x = jnp.asarray(np.random.default_rng(0).integers(0, 3, (2, 7, 6, 2)).astype(np.float32))
    values, indices = max_pool_with_indices(x, 3, 2, 1)
    np.testing.assert_array_equal(values, max_pool(x, 3, 2, 1))
    for n, i, j, c in np.ndindex(*values.shape):
        inside = [
            row * 6 + column
            for row in range(max(2 * i - 1, 0), min(2 * i + 2, 7))
            for column in range(max(2 * j - 1, 0), min(2 * j + 2, 6))
        ]
        flat = np.asarray(x[n, :, :, c]).ravel()
        assert indices[n, i, j, c] == max(inside, key=lambda position: flat[position])


def test_padding_is_never_a_maximum():
    """Not even where everything else is -inf."""
    values, indices = max_pool_with_indices(jnp.full((1, 3, 3, 1), -jnp.inf), 2, 2, 1)
    np.testing.assert_array_equal(indices[0, :, :, 0], [[0, 1], [3, 4]])
    assert np.isneginf(values).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "pool",
    [
        lambda x: max_pool(x, 2),
        lambda x: max_pool_with_indices(x, 2)[0],
        lambda x: avg_pool(x, 2),
        lambda x: adaptive_avg_pool(x, 2),
        global_avg_pool,
        global_max_pool,
    ],
)
def test_what_is_not_finite_stays_in_its_image_and_channel(pool, value):
    x = jnp.zeros((2, 4, 4, 2)).at[0, 3, 3, 0].set(value)
    y = np.array(pool(x))
    # Averages are not finite; maxima are the value, or 0 beside -inf.
    corner = y[(0, -1, -1, 0)[: y.ndim]] if y.ndim == 4 else y[0, 0]
    assert not np.isfinite(corner) or (value == -np.inf and corner == 0)
    assert np.isnan(corner) or not np.isnan(value)
    y[0, ..., 0] = 0
    np.testing.assert_array_equal(y, 0)


def test_an_empty_batch_and_a_single_pixel():
    for shape in ((0, 4, 4, 2), (1, 1, 1, 2)):
        x = jnp.ones(shape)
        out = (shape[0], *(-(-n // 3) for n in shape[1:3]), 2)
        assert max_pool(x, 3, padding=1).shape == avg_pool(x, 3, padding=1).shape
        assert max_pool(x, 3, ceil_mode=True, padding=1).shape == out
        assert max_pool_with_indices(x, 3, ceil_mode=True, padding=1)[1].shape == out
        assert adaptive_avg_pool(x, (2, 3)).shape == (shape[0], 2, 3, 2)
        assert global_avg_pool(x).shape == global_max_pool(x).shape == (shape[0], 2)


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: max_pool(x, 3, 2, 1),
        lambda x: max_pool_with_indices(x, 3, 2, 1, ceil_mode=True)[0],
        lambda x: avg_pool(x, 3, 2, 1),
        lambda x: avg_pool(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
        lambda x: adaptive_avg_pool(x, (3, 4)),
        global_avg_pool,
        global_max_pool,
    ],
)
def test_gradients_equal_finite_differences(pool):
    # No two values are equal, or as near as the difference.
    x = np.random.default_rng(0).permutation(120).reshape(2, 5, 6, 2) / 120
    with jax.enable_x64(True):
        check_grads(jax.jit(pool), (x,), order=1, modes=["rev"], eps=1e-5)


def test_of_equal_values_the_first_one_gets_the_gradient():
    """As in PyTorch; zeros are common after a ReLU."""
    gradient = jax.grad(lambda x: max_pool(x, 2).sum())(jnp.zeros((1, 4, 4, 1)))
    expected = np.zeros((4, 4))
    expected[::2, ::2] = 1
    np.testing.assert_array_equal(gradient[0, :, :, 0], expected)


def test_bins_without_pixels_are_refused():
    with pytest.raises(ValueError, match="an image of 4x5 and an output of 0x2"):
        adaptive_avg_pool(jnp.zeros((1, 4, 5, 1)), (0, 2))


@pytest.mark.parametrize("pool", [max_pool, avg_pool, max_pool_with_indices])
def test_a_window_that_could_lie_outside_is_refused(pool):
    x = jnp.zeros((1, 8, 8, 1))
    with pytest.raises(ValueError, match=r"padding 2 must be at most half of the window \(3, 3\)"):
        pool(x, 3, 1, 2)
    with pytest.raises(ValueError, match="9x9 does not fit into an image of 8x8"):
        pool(x, 9)
    with pytest.raises(ValueError, match="9x9 does not fit into an image of 8x8"):
        pool(x, 9, 1, ceil_mode=True)


@pytest.mark.parametrize("platform", ["cpu", "accelerators"])
@pytest.mark.parametrize(
    ("window", "stride", "padding"),
    [(3, 2, 1), (2, 2, 0), (3, 1, 1), (3, 3, 1), (4, 4, 2), (2, 3, 0)],
)
def test_the_gradient_is_that_of_the_windows(window, stride, padding, platform):
    """With many equal values, and windows that share them."""
    rng = np.random.default_rng(0)
    x = np.maximum(rng.integers(-3, 3, (2, 9, 10, 3)), 0).astype(np.float64)

    def plain(x):
        sides = ((0, 0), (padding, padding), (padding, padding), (0, 0))
        return lax.reduce_window(
            x, -jnp.inf, lax.max, (1, window, window, 1), (1, stride, stride, 1), sides
        )

    with jax.enable_x64(True):
        value, pullback = jax.vjp(lambda x: max_pool(x, window, stride, padding), jnp.asarray(x))
        expected, plain_pullback = jax.vjp(plain, jnp.asarray(x))
        np.testing.assert_array_equal(value, expected)
        gradient = jnp.asarray(rng.standard_normal(value.shape))
        expected = plain_pullback(gradient)
        if platform == "cpu":
            assert_close(pullback(gradient), expected)
            return
        places = Windows((window,) * 2, (stride,) * 2, ((padding,) * 2,) * 2)
        ours = _scatter_on_accelerators(jnp.asarray(x), gradient, shape=x.shape, windows=places)
        assert_close((ours,), expected)


@pytest.mark.parametrize("window", [2, 8, 9])
def test_the_maximum_of_few_and_of_many_pixels(window):
    """Windows of up to 64 pixels and larger ones take different ways on CPUs."""
    largest = jax.jit(lambda x: max_pool(x, window, 3))
    x = np.random.default_rng(0).normal(size=(2, 40, 40, 3)).astype(np.float32)
    for value in (0, np.nan):
        x[0, 20, 20, 1] = value
        under = windows(x, (window, window), (3, 3), ((0, 0), (0, 0)), fill=0)
        np.testing.assert_array_equal(largest(x), under.max(-1))


@pytest.mark.parametrize("stride", [1, 12])
def test_the_gradient_of_large_windows_is_jaxs(stride):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 25, 24, 2)))
    places = (1, 12, 12, 1), (1, stride, stride, 1), "VALID"
    ours = jax.grad(lambda x: jnp.square(max_pool(x, 12, stride)).sum())(x)
    theirs = jax.grad(lambda x: jnp.square(lax.reduce_window(x, -jnp.inf, lax.max, *places)).sum())
    assert_close(ours, theirs(x), rtol=1e-6)
