"""Occlusion against a naive loop over the squares."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.interpretability import occlusion_map

IMAGE = np.random.default_rng(0).random((7, 10, 2)).astype(np.float32)
WEIGHTS = np.random.default_rng(1).standard_normal((7, 10, 2)).astype(np.float32)


def score(images):
    return jnp.tanh((images * WEIGHTS[None]).sum(axis=(1, 2, 3)))


def naive(size, stride, fill):
    rows, columns = -(-7 // stride), -(-10 // stride)
    expected = np.zeros((rows, columns))
    for i in range(rows):
        for j in range(columns):
            hidden = IMAGE.copy()
            # The square's first pixel is at or before its exact corner.
            top, left = ((2 * k + 1) * stride / 2 - size / 2 for k in (i, j))
            for y in range(7):
                for x in range(10):
                    inside = top <= y + 0.5 < top + size and left <= x + 0.5 < left + size
                    if inside:
                        hidden[y, x] = fill
            expected[i, j] = np.tanh((hidden * WEIGHTS).sum())
    return expected


@pytest.mark.parametrize(
    ("size", "stride", "batch_size"), [(3, 1, 8), (2, 2, 1), (4, 3, 5), (5, 2, 100), (30, 10, 3)]
)
def test_scores_are_those_of_a_loop(size, stride, batch_size):
    found = jax.jit(
        lambda image: occlusion_map(
            score, image, size=size, stride=stride, fill=0.25, batch_size=batch_size
        )
    )(IMAGE)
    np.testing.assert_allclose(found, naive(size, stride, 0.25), rtol=1e-5, atol=1e-6)


def test_only_what_decides_matters():
    found = occlusion_map(lambda images: images[:, 2, 5, 0], jnp.ones((7, 10, 2)), size=1, stride=1)
    expected = np.ones((7, 10))
    expected[2, 5] = 0.5
    np.testing.assert_array_equal(found, expected)


def test_a_wrong_size_or_stride_is_an_error():
    for wrong in ({"size": 2, "stride": 3}, {"size": 2, "stride": 0}):
        with pytest.raises(ValueError, match=f"stride {wrong['stride']}, size 2 and batch size 32"):
            occlusion_map(score, jnp.asarray(IMAGE), **wrong)
