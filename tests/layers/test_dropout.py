import math

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from cnn_jax.layers import Dropout, SpatialDropout, dropout, spatial_dropout
from tests.tolerance import assert_close

FUNCTIONS = [dropout, spatial_dropout]
KEY = jax.random.key(0)


def images(*shape):
    """Nowhere zero."""
    return jnp.asarray(1 + np.random.default_rng(0).random(shape), jnp.float32)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_values_are_dropped_at_the_rate_and_the_others_scaled(function, rate):
    x = images(100, 2, 2, 100)
    y = function(KEY, x, rate, train=True)
    kept = np.asarray(y != 0)
    assert_close(y, np.where(kept, x / (1 - rate), 0), rtol=1e-6)
    # 100 x 100 channels; in `dropout`, four times as many values.
    trials = 10_000 if function is spatial_dropout else 40_000
    deviation = math.sqrt(rate * (1 - rate) / trials)
    assert abs(1 - kept.mean() - rate) < 4 * deviation


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_mean_over_keys_is_the_input(function):
    x, keys = images(1, 2, 2, 3), jax.random.split(KEY, 10_000)
    y = jax.vmap(lambda key: function(key, x, 0.4, train=True))(keys)
    # The standard deviation of the mean is x sqrt(0.4 / 0.6 / 10000).
    assert_close(y.mean(0), x, rtol=4 * 0.0082)


def test_whole_channels_are_dropped_alike_over_pixels_and_apart_over_images():
    x = jnp.ones((40, 3, 4, 50))
    y = np.asarray(spatial_dropout(KEY, x, 0.5, train=True))
    np.testing.assert_array_equal(y, np.broadcast_to(y[:, :1, :1], y.shape))
    masks = y[:, 0, 0]
    assert len(np.unique(masks, axis=0)) == 40
    assert len(np.unique(masks, axis=1).T) == 50


def test_single_values_are_dropped_apart():
    y = np.asarray(dropout(KEY, jnp.ones((20, 10, 10, 8)), 0.5, train=True))
    assert len(np.unique(y.reshape(20, -1), axis=0)) == 20
    assert len(np.unique(y.reshape(-1, 8), axis=0)) == 2**8


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_key_decides(function):
    x = images(4, 3, 3, 16)
    first = function(KEY, x, 0.5, train=True)
    np.testing.assert_array_equal(function(KEY, x, 0.5, train=True), first)
    assert (function(jax.random.key(1), x, 0.5, train=True) != first).any()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_evaluation_and_rate_zero_are_the_identity(function):
    x = images(2, 3, 3, 4)
    np.testing.assert_array_equal(function(KEY, x, 0.5, train=False), x)
    np.testing.assert_array_equal(function(KEY, x, 0.0, train=True), x)
    np.testing.assert_array_equal(function(KEY, x, 0, train=True), x)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_rate_one_drops_everything(function):
    x = images(2, 3, 3, 4)
    value, gradient = jax.value_and_grad(lambda x: function(KEY, x, 1.0, train=True).sum())(x)
    assert value == 0
    np.testing.assert_array_equal(gradient, np.zeros(x.shape))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("rate", [-0.1, 1.5, math.nan])
def test_a_rate_that_is_no_probability_is_refused(function, rate):
    with pytest.raises(ValueError, match=rf"probability in \[0, 1\], got {rate}"):
        function(KEY, images(1, 1, 1, 2), rate, train=False)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_gradient_is_the_mask(function):
    x = images(3, 2, 2, 8)
    y, pullback = jax.vjp(lambda x: function(KEY, x, 0.5, train=True), x)
    (gradient,) = pullback(jnp.ones_like(y))
    np.testing.assert_array_equal(gradient, np.where(y != 0, 2, 0))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_is_not_finite_stays_so(function):
    x = images(2, 3, 3, 4).at[0, 0, 0].set(jnp.asarray([jnp.nan, jnp.inf, -jnp.inf, jnp.nan]))
    y = function(KEY, x, 0.5, train=True)
    np.testing.assert_array_equal(np.isfinite(y), np.isfinite(x))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_keeps_shape_and_dtype(function, dtype):
    for shape in ((0, 2, 2, 3), (1, 2, 2, 3)):
        y = function(KEY, jnp.ones(shape, dtype), 0.3, train=True)
        assert (y.shape, y.dtype) == (shape, dtype)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_mask_of_a_batch_does_not_depend_on_the_devices(function):
    x = images(16, 2, 2, 4)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    sharded = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
    drop = jax.jit(lambda x: function(KEY, x, 0.5, train=True))
    np.testing.assert_array_equal(drop(sharded), drop(x))


class Twice(nn.Module):
    layer: type[nn.Module]

    @nn.compact
    def __call__(self, x, *, train):
        return self.layer(0.5)(x, train=train), self.layer(0.5)(x, train=train)


@pytest.mark.parametrize("layer", [Dropout, SpatialDropout])
def test_every_layer_has_its_own_mask(layer):
    x, model = images(4, 3, 3, 16), Twice(layer)
    assert model.init(KEY, x, train=True) == {}
    first, second = model.apply({}, x, train=True, rngs={"dropout": KEY})
    assert (first != second).any()
    again, _ = model.apply({}, x, train=True, rngs={"dropout": KEY})
    np.testing.assert_array_equal(again, first)
    other, _ = model.apply({}, x, train=True, rngs={"dropout": jax.random.key(1)})
    assert (other != first).any()
    kept = np.asarray(first != 0)
    assert_close(first, np.where(kept, 2 * x, 0), rtol=1e-6)
    if layer is SpatialDropout:
        assert (kept == kept[:, :1, :1]).all()


@pytest.mark.parametrize("layer", [Dropout, SpatialDropout])
def test_a_layer_needs_a_key_only_to_drop_in_training(layer):
    x = images(2, 3, 3, 4)
    np.testing.assert_array_equal(layer(0.0).apply({}, x, train=True), x)
    for y in Twice(layer).apply({}, x, train=False):
        np.testing.assert_array_equal(y, x)
    with pytest.raises(flax.errors.InvalidRngError, match="dropout"):
        Twice(layer).apply({}, x, train=True)
