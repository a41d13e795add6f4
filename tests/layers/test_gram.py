import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

from cnn_jax.layers import gram_matrix
from tests.tolerance import assert_close


def draw(*shape):
    return np.random.default_rng(0).standard_normal(shape)


def test_value_is_the_definition():
    features = draw(2, 3, 4, 5)
    expected = np.zeros((2, 5, 5))
    for y in range(3):
        for x in range(4):
            for image in range(2):
                expected[image] += np.outer(features[image, y, x], features[image, y, x]) / 12
    with jax.enable_x64(True):
        assert_close(gram_matrix(jnp.asarray(features)), expected)


def test_gradients_equal_finite_differences():
    with jax.enable_x64(True):
        check_grads(jax.jit(gram_matrix), (jnp.asarray(draw(2, 2, 3, 2)),), order=1)


def test_neither_place_nor_size_matters():
    with jax.enable_x64(True):
        features = draw(1, 4, 6, 3)
        gram = gram_matrix(jnp.asarray(features))
        shuffled = np.random.default_rng(1).permutation(features.reshape(24, 3))
        assert_close(gram_matrix(jnp.asarray(shuffled.reshape(1, 4, 6, 3))), gram)
        assert_close(gram_matrix(jnp.asarray(np.tile(features, (1, 2, 3, 1)))), gram)


def test_symmetric_and_positive():
    with jax.enable_x64(True):
        gram = gram_matrix(jnp.asarray(draw(1, 2, 2, 6)))[0]
        assert_close(gram, gram.T)
        assert np.linalg.eigvalsh(gram).min() > -1e-12


def test_extreme_inputs():
    assert gram_matrix(jnp.zeros((0, 2, 2, 3))).shape == (0, 3, 3)
    assert_close(gram_matrix(jnp.full((1, 2, 2, 2), 1e4)), np.full((1, 2, 2), 1e8), rtol=1e-6)
    features = jnp.zeros((2, 2, 2, 3)).at[0, 0, 0, 1].set(jnp.nan)
    gram = gram_matrix(features)
    assert jnp.isnan(gram[0, 1]).all()
    assert jnp.isfinite(gram[1]).all()
    assert gram_matrix(features.astype(jnp.bfloat16)).dtype == jnp.bfloat16
