import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from cnn_jax.layers import avg_pool, global_avg_pool, max_pool
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
        ours = jnp.asarray(x)
        assert_close(max_pool(ours, window, stride, padding), np.nanmax(under, -1))
        included = windows(x, window, steps, padding, fill=0)
        assert_close(avg_pool(ours, window, stride, padding), included.mean(-1))
        excluded = avg_pool(ours, window, stride, padding, count_include_pad=False)
        assert_close(excluded, np.nanmean(under, -1))


def test_sizes_are_pytorch_s():
    """One number stands for both axes; the last position that does not fit is left out."""
    x = jnp.zeros((2, 112, 113, 3))
    assert max_pool(x, 3, 2, 1).shape == (2, 56, 57, 3)
    assert max_pool(x, 3).shape == (2, 37, 37, 3)
    assert avg_pool(x, (2, 3), stride=2).shape == (2, 56, 56, 3)
    assert global_avg_pool(x).shape == (2, 3)


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: max_pool(x, 3, 2, 1),
        lambda x: avg_pool(x, 3, 2, 1),
        lambda x: avg_pool(x, 3, 2, 1, count_include_pad=False),
        global_avg_pool,
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


@pytest.mark.parametrize("pool", [max_pool, avg_pool])
def test_a_window_that_could_lie_outside_is_refused(pool):
    x = jnp.zeros((1, 8, 8, 1))
    with pytest.raises(ValueError, match=r"padding 2 must be at most half of the window \(3, 3\)"):
        pool(x, 3, 1, 2)
    with pytest.raises(ValueError, match="9x9 does not fit into an image of 8x8"):
        pool(x, 9)
