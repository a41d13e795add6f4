import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.errors import ConfigError
from cnn_jax.tasks import border_weights, dice_loss, median_frequency_weights
from tests.tolerance import assert_close

IGNORED = 255


def test_dice_loss_by_hand():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(3, 4, 5, 4)), rng.integers(3, size=(3, 4, 5))
    labels[1, :2] = IGNORED
    labels[2] = IGNORED
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = []
    for image in range(2):
        kept = labels[image] != IGNORED
        coefficients = []
        for c in np.unique(labels[image][kept]):
            t = (labels[image] == c)[kept]
            both = (p[image][kept][:, c] * t).sum()
            coefficients.append(2 * both / (p[image][kept][:, c].sum() + t.sum()))
        expected.append(1 - np.mean(coefficients))
    with jax.enable_x64(True):

        @jax.jit
        def loss(logits):
            return dice_loss(logits, jnp.asarray(labels), ignore_index=IGNORED)

        assert_close(loss(jnp.asarray(logits)), np.array([*expected, 0]))
        gradient = jax.jit(jax.grad(lambda x: loss(x).sum()))(jnp.asarray(logits))
    assert np.all(np.isfinite(gradient))
    assert np.all(gradient[labels == IGNORED] == 0) and np.all(gradient[0] != 0)


def test_dice_of_sure_and_right_pixels_is_no_loss():
    labels = jnp.array([[[0, 1], [1, 1]]])
    logits = 100.0 * jax.nn.one_hot(labels, 3)
    assert dice_loss(logits, labels)[0] == pytest.approx(0, abs=1e-6)
    assert dice_loss(-logits, labels)[0] == pytest.approx(1, abs=1e-6)


def test_median_frequency_weights_by_hand():
    """Frequencies: 3/8 over both images, 4/7 of the one or the other, 1/4 of the first."""
    masks = np.array([[[0, 0], [0, 3]], [[1, 1], [1, IGNORED]]])
    frequencies = [3 / 4, 3 / 3, None, 1 / 4]
    weights = median_frequency_weights(masks, 4, ignore_index=IGNORED)
    assert weights == pytest.approx([0.75 / f if f else 0 for f in frequencies])
    with pytest.raises(ConfigError, match="from 0 to 3, got 255; set ignore_index"):
        median_frequency_weights(masks, 4)
    with pytest.raises(ConfigError, match="need labels to count, got none"):
        median_frequency_weights(masks[:0], 4)


def test_border_weights_by_hand():
    """Two objects in a row: the pixels between are 1 and 3, 2 and 2, 3 and 1 from them."""
    instances = np.array([[7, 0, 0, 0, 2, 0]])
    weights = border_weights(instances, strength=10, sigma=5)
    between, beyond = 1 + 10 * np.exp(-(4**2) / 50), 1 + 10 * np.exp(-(6**2) / 50)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights[0], [1, *3 * [between], 1, beyond], rtol=1e-6)
    assert np.all(border_weights(np.array([[0, 3, 3]])) == 1)
    assert np.all(border_weights(np.zeros((2, 2), int)) == 1)
    with pytest.raises(ConfigError, match=r"a positive sigma, got shape \(1, 6\) and 0"):
        border_weights(instances, sigma=0)
