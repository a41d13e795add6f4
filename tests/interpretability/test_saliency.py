import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.interpretability import saliency
from tests.tolerance import assert_close


def test_saliency_is_the_largest_derivative_of_a_pixel():
    weights = np.random.default_rng(0).standard_normal((4, 4, 2))

    def linear(images):
        return (images * weights[None]).sum(axis=(1, 2, 3))

    with jax.enable_x64(True):
        expected = np.broadcast_to(np.abs(weights).max(axis=-1), (3, 4, 4))
        assert_close(saliency(linear, jnp.ones((3, 4, 4, 2))), expected)
