import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from cnn_jax.layers import bed_of_nails, max_pool_with_indices, max_unpool
from tests.tolerance import assert_close


def test_maxima_go_back_to_where_they_were():
    x = np.random.default_rng(0).random((2, 5, 6, 3)).astype(np.float32)
    values, indices = max_pool_with_indices(jnp.asarray(x), 2)
    y = np.asarray(max_unpool(values, indices, (5, 6)))
    # The last row does not fill a window.
    blocks = x[:, :4].reshape(2, 2, 2, 3, 2, 3)
    largest = blocks == blocks.max(axis=(2, 4), keepdims=True)
    np.testing.assert_array_equal(y[:, :4], np.where(largest, blocks, 0).reshape(2, 4, 6, 3))
    np.testing.assert_array_equal(y[:, 4], 0)


def test_pooling_again_gives_the_same():
    x = jnp.asarray(np.random.default_rng(0).random((1, 7, 7, 2)))
    values, indices = max_pool_with_indices(x, 3, 2, 1)
    again, _ = max_pool_with_indices(max_unpool(values, indices, 7), 3, 2, 1)
    np.testing.assert_array_equal(again, values)


def test_values_of_one_pixel_all_have_its_gradient():
    """As in PyTorch, and whatever value was taken."""
    x = jnp.array([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1)
    indices = jnp.array([2, 0, 2]).reshape(1, 1, 3, 1)
    weights = jnp.array([5.0, 6.0, 7.0]).reshape(1, 1, 3, 1)
    gradient = jax.grad(lambda x: (max_unpool(x, indices, (1, 3)) * weights).sum())(x)
    np.testing.assert_array_equal(gradient.ravel(), [7, 5, 7])


def test_indices_outside_are_dropped():
    x = jnp.ones((1, 1, 3, 1))
    indices = jnp.array([-1, 4, 1]).reshape(1, 1, 3, 1)
    np.testing.assert_array_equal(max_unpool(x, indices, 2).ravel(), [0, 1, 0, 0])
    gradient = jax.grad(lambda x: max_unpool(x, indices, 2).sum())(x)
    np.testing.assert_array_equal(gradient.ravel(), [0, 0, 1])


def test_a_nail_stands_in_the_upper_left_corner():
    x = jnp.array([[1.0, 2.0]])[None, :, :, None]
    y = bed_of_nails(x, (3, 2))
    np.testing.assert_array_equal(y[0, :, :, 0], [[1, 0, 2, 0], [0] * 4, [0] * 4])


@pytest.mark.parametrize(
    "unpool",
    [
        lambda x: bed_of_nails(x, 2),
        lambda x: max_unpool(x, jnp.arange(24).reshape(2, 2, 3, 2) % 12, (3, 4)),
    ],
)
def test_gradients_equal_finite_differences(unpool):
    x = np.random.default_rng(0).standard_normal((2, 2, 3, 2))
    with jax.enable_x64(True):
        unpool_twice_derivable = jax.jit(lambda x: jnp.sin(unpool(x)))
        check_grads(unpool_twice_derivable, (x,), order=2, modes=["rev"], eps=1e-5, rtol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_its_pixel(value):
    x = jnp.array([1.0, value]).reshape(1, 1, 2, 1)
    expected = np.array([[1, 0, value, 0], [0] * 4])
    assert_close(bed_of_nails(x, 2)[0, :, :, 0], expected)
    assert_close(max_unpool(x, jnp.array([0, 2]).reshape(x.shape), (2, 4))[0, :, :, 0], expected)


def test_an_empty_batch():
    x = jnp.zeros((0, 2, 2, 3))
    assert bed_of_nails(x, 2).shape == (0, 4, 4, 3)
    assert max_unpool(x, x.astype(jnp.int32), 4).shape == (0, 4, 4, 3)


@pytest.mark.usefixtures("no_shape_hook")
def test_wrong_arguments_are_named():
    x = jnp.zeros((1, 2, 2, 1))
    with pytest.raises(ValueError, match=r"factor \(0, 2\) must be at least 1"):
        bed_of_nails(x, (0, 2))
    with pytest.raises(ValueError, match=r"shape \(1, 2, 1, 1\) do not belong to x of shape"):
        max_unpool(x, jnp.zeros((1, 2, 1, 1), jnp.int32), 4)
    with pytest.raises(ValueError, match="an output of 0x4"):
        max_unpool(x, jnp.zeros((1, 2, 2, 1), jnp.int32), (0, 4))
