"""Grad-CAM against finite differences and against class activation maps."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.interpretability import grad_cam
from cnn_jax.layers import conv2d, global_avg_pool, max_pool, relu
from tests.tolerance import assert_close

KEY = jax.random.key(0)
LABELS = jnp.array([2, 0])


def kernels():
    shapes = {"first": (3, 3, 2, 4), "second": (3, 3, 4, 5), "head": (5, 3)}
    keys = jax.random.split(KEY, len(shapes))
    return {
        name: jax.random.normal(key, shape)
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def second_half(weights, first, images):
    """From the first map on; the images are seen again, past it."""
    second = relu(conv2d(first, weights["second"], padding=1)) + images[..., :1]
    return second, jnp.sin(global_avg_pool(second)) @ weights["head"]


def network(weights, images):
    first = max_pool(relu(conv2d(images, weights["first"], padding=1)), 2)
    images = images[:, ::2, ::2]
    second, logits = second_half(weights, first, images)
    return logits, {"first": first, "second": second, "vector": logits}


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
@pytest.mark.parametrize("outer", [lambda f: f, jax.jit])
def test_weights_are_the_derivatives_of_the_logit(wrap, outer):
    with jax.enable_x64(True):
        weights = kernels()
        images = jax.random.normal(KEY, (2, 4, 6, 2))
        inside = wrap(partial(network, weights))
        _, features = inside(images)

        @jax.jit
        def logit(first):
            _, logits = second_half(weights, first, images[:, ::2, ::2])
            return logits[jnp.arange(2), LABELS]

        first = features["first"]
        step = 1e-6
        derivatives = np.zeros(first.shape)
        for place in np.ndindex(first.shape[1:]):
            change = jnp.zeros_like(first).at[(slice(None), *place)].set(step)
            slope = (logit(first + change) - logit(first - change)) / (2 * step)
            derivatives[(slice(None), *place)] = slope
        alpha = derivatives.mean(axis=(1, 2))
        expected = np.maximum(np.einsum("bhwk,bk->bhw", first, alpha), 0)
        maps = outer(lambda images: grad_cam(inside, images, LABELS, "first"))(images)
        assert 0 < np.count_nonzero(expected) < expected.size
        np.testing.assert_allclose(maps, expected, rtol=1e-6, atol=1e-8)


def test_with_average_pooling_it_is_the_class_activation_map():
    """For a linear head over a mean, weights are the head's (section 3.1, CAM)."""
    with jax.enable_x64(True):
        weights = kernels()
        images = jax.random.normal(KEY, (2, 5, 5, 2))

        def network(images):
            maps = conv2d(images, weights["first"])
            return global_avg_pool(maps) @ weights["head"][:4], {"last": maps}

        _, features = network(images)
        of_labels = weights["head"][:4, LABELS].T
        expected = np.maximum(np.einsum("bhwk,bk->bhw", features["last"], of_labels), 0) / 9
        assert_close(grad_cam(network, images, LABELS, "last"), expected)


def test_a_wrong_feature_is_an_error():
    images = jnp.ones((1, 4, 4, 2))
    inside = partial(network, kernels())
    with pytest.raises(ValueError, match="no feature 'third'; there are first, second, vector"):
        grad_cam(inside, images, jnp.array([0]), "third")
    with pytest.raises(ValueError, match=r"'vector' has the shape \(1, 3\)"):
        grad_cam(inside, images, jnp.array([0]), "vector")
