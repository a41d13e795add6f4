import jax.numpy as jnp
import numpy as np

from cnn_jax.layers import flatten


def test_channel_by_channel_and_row_by_row():
    image = np.stack([np.arange(6.0).reshape(2, 3), np.arange(6.0, 12.0).reshape(2, 3)], axis=-1)
    np.testing.assert_array_equal(flatten(jnp.asarray(image)[None]), [np.arange(12)])


def test_an_empty_batch_has_no_vectors():
    assert flatten(jnp.zeros((0, 2, 3, 4))).shape == (0, 24)
