"""Guided backpropagation against one written by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.interpretability import guided_backpropagation
from cnn_jax.layers import conv2d, max_pool, relu, softplus
from tests.tolerance import assert_close

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.standard_normal((3, 4, 4, 2))
FIRST = RANDOM.standard_normal((32, 9))
SECOND = RANDOM.standard_normal((9, 7))
LAST = RANDOM.standard_normal(7)

RELUS = {
    "ours": relu,
    "compiled": jax.jit(relu),
    "JAX's": jax.nn.relu,
    "maximum": lambda x: jnp.maximum(x, 0),
    "maximum, turned": jax.jit(lambda x: jnp.maximum(0.0, x)),
}


def score(images, activation=relu):
    x = activation(images.reshape(len(images), 32) @ FIRST)
    return activation(x @ SECOND) @ LAST


def by_hand():
    """The gradient is gated at each ReLU by the input and by itself."""
    first = IMAGES.reshape(3, 32) @ FIRST
    second = np.maximum(first, 0) @ SECOND
    gradient = np.broadcast_to(LAST, second.shape)
    gradient = gradient * (second > 0) * (gradient > 0)
    gradient = gradient @ SECOND.T
    gradient = gradient * (first > 0) * (gradient > 0)
    return (gradient @ FIRST.T).reshape(IMAGES.shape)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
@pytest.mark.parametrize("activation", RELUS.values(), ids=RELUS)
def test_a_relu_passes_what_is_positive(activation, wrap):
    with jax.enable_x64(True):
        images = jnp.asarray(IMAGES)
        guided = wrap(lambda images: guided_backpropagation(lambda x: score(x, activation), images))
        assert_close(guided(images), by_hand())
        plain = jax.grad(lambda images: score(images).sum())(images)
        assert np.abs(plain - by_hand()).max() > 0.1


def test_convolution_and_pooling_keep_their_derivatives():
    """With positive weights and images no gradient is negative: guided is plain."""
    with jax.enable_x64(True):
        kernel = jnp.abs(jnp.asarray(RANDOM.standard_normal((3, 3, 2, 4))))
        images = jnp.abs(jnp.asarray(IMAGES))

        def score(images):
            return max_pool(relu(conv2d(images, kernel, padding=1)), 2).sum(axis=(1, 2, 3))

        plain = jax.grad(lambda images: score(images).sum())(images)
        assert_close(guided_backpropagation(score, images), plain)
        guided = guided_backpropagation(lambda images: -score(images), images)
        assert not np.any(guided)


def test_other_activations_keep_their_derivatives():
    with jax.enable_x64(True):
        images = jnp.asarray(IMAGES)
        plain = jax.grad(lambda images: score(images, softplus).sum())(images)
        assert_close(guided_backpropagation(lambda x: score(x, softplus), images), plain)


def test_a_relu_that_cannot_be_reached_is_an_error():
    def looped(images):
        return jax.lax.fori_loop(0, 3, lambda _, x: relu(x), images).sum(axis=(1, 2, 3))

    with pytest.raises(ValueError, match="a ReLU inside "):
        guided_backpropagation(looped, jnp.asarray(IMAGES, jnp.float32))
