import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.data import alternating_flip
from tests.tolerance import assert_close

IMAGES = jnp.asarray(np.random.default_rng(0).integers(0, 256, (200, 4, 5, 3)), jnp.uint8)
PLACES = jnp.arange(1000, 1200)


def mirrored(epoch, key=0, order=None):
    """Which images are mirrored; each is either itself or its mirror image."""
    order = np.arange(200) if order is None else order
    images = np.asarray(IMAGES)[order]
    shown = alternating_flip(IMAGES[order], PLACES[order], epoch, jax.random.key(key))
    same = np.all(np.asarray(shown) == images, axis=(1, 2, 3))
    assert_close(shown[~same], images[~same][:, :, ::-1], rtol=0, atol=0)
    return ~same


def test_every_image_is_mirrored_in_every_other_epoch():
    first = mirrored(0)
    assert 70 < first.sum() < 130
    for epoch in range(1, 5):
        assert np.array_equal(mirrored(epoch), first ^ bool(epoch % 2))


def test_the_first_side_is_the_examples_own_and_the_keys():
    order = np.random.default_rng(1).permutation(200)
    assert np.array_equal(mirrored(0, order=order), mirrored(0)[order])
    agree = np.mean(mirrored(0, key=1) == mirrored(0))
    assert 0.35 < agree < 0.65
