"""Gradient ascent on images, against what is known to be the best image."""

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.interpretability import activation_maximization
from cnn_jax.layers import conv2d

KEY = jax.random.key(0)
START = jnp.full((2, 6, 6, 1), 0.5)


def test_the_best_image_of_a_kernel_has_its_signs():
    kernel = jax.random.normal(KEY, (6, 6, 1, 2))

    def score(images):
        return conv2d(images, kernel)[jnp.arange(2), 0, 0, jnp.arange(2)]

    best = activation_maximization(score, START, KEY, total_variation=0.0, steps=400)
    clear = np.abs(np.moveaxis(kernel, -1, 0)) > 0.2
    expected = (np.moveaxis(kernel, -1, 0) > 0).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(best)[clear], expected[clear])
    # The scale of a score decides nothing.
    scaled = activation_maximization(
        lambda images: 1e4 * score(images), START, KEY, total_variation=0.0, steps=400
    )
    np.testing.assert_allclose(scaled, best, atol=1e-3)


def test_penalties_smooth_the_image_and_keep_it_near_its_start():
    checkers = (jnp.indices((6, 6)).sum(axis=0) % 2 - 0.5)[None, :, :, None]

    def score(images):
        return jnp.sum(checkers * images, axis=(1, 2, 3))

    def contrast(**weights):
        best = activation_maximization(score, START, KEY, **{"total_variation": 0.0} | weights)
        return float(best.max() - best.min())

    assert contrast() == 1
    assert contrast(total_variation=2.0) < 0.5
    assert 0.3 < contrast(l2=4.0) < 0.7


def test_jitter_is_decided_by_the_key_and_the_program_compiles_whole():
    def score(images):
        return images[:, 3, 3, 0]

    @jax.jit
    def best(start, key):
        return activation_maximization(score, start, key, steps=60, jitter=1, total_variation=0.0)

    first = best(START, KEY)
    np.testing.assert_array_equal(first, best(START, KEY))
    assert not np.array_equal(first, best(START, jax.random.key(1)))
    # The pixel is hit in all nine places around its own.
    grown = np.asarray(first[0, :, :, 0]) > 0.55
    assert grown[2:5, 2:5].all() and grown.sum() == 9


def test_without_a_gradient_the_start_remains():
    best = activation_maximization(lambda images: jnp.zeros(len(images)), START, KEY, steps=3)
    np.testing.assert_array_equal(best, START)
