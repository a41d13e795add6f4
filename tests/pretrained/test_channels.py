from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.errors import ConfigError
from cnn_jax.models import create_model
from cnn_jax.pretrained import Network, Preprocessing, change_channels
from cnn_jax.pretrained.channels import change_kernel_channels
from tests.tolerance import assert_close

SCALE = Preprocessing(0, 8, (0.2, 0.5, 0.8), (0.1, 0.2, 0.6))
KERNEL = np.random.default_rng(0).standard_normal((3, 3, 3, 2))


def network(name, channels=3, scale=SCALE, **attributes):
    model = create_model(name, **attributes)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, channels)))
    return Network(model, variables, scale, (), name)


def test_kernels_are_timms():
    assert_close(change_kernel_channels(KERNEL, 1)[..., 0, :], KERNEL.sum(axis=2))
    for channels in (2, 4, 7):
        adapted = change_kernel_channels(KERNEL, channels)
        assert adapted.shape == (3, 3, channels, 2)
        for i in range(channels):
            assert_close(adapted[:, :, i], KERNEL[:, :, i % 3] * 3 / channels)
    gray = KERNEL[:, :, :1]
    assert_close(change_kernel_channels(gray, 3), np.repeat(gray, 3, axis=2) / 3)


def test_a_gray_image_gives_what_equal_channels_gave():
    before = network("simple_cnn", scale=replace(SCALE, mean=(0.4,) * 3, std=(0.2,) * 3))
    after = change_channels(before, 1)
    gray = np.random.default_rng(1).standard_normal((2, 8, 8, 1)).astype(np.float32)
    expected = before.model.apply(before.variables, np.repeat(gray, 3, axis=-1))
    assert_close(after.model.apply(after.variables, gray), expected, rtol=1e-5)
    assert after.preprocessing.mean == pytest.approx((0.4,))


def test_scales_follow_the_channels():
    before = network("simple_cnn")
    assert change_channels(before, 3) is before
    assert change_channels(before, 1).preprocessing.mean == pytest.approx((0.5,))
    assert change_channels(before, 1).preprocessing.std == pytest.approx((0.3,))
    four = change_channels(before, 4).preprocessing
    assert four.mean == (0.2, 0.5, 0.8, 0.2) and four.std == (0.1, 0.2, 0.6, 0.1)
    with pytest.raises(ConfigError, match="takes images of 4 channels; an image file has one"):
        four(np.zeros((9, 9, 3), np.uint8))


def test_transformed_input_is_normalized_instead():
    model = create_model("googlenet", transform_input=True, num_classes=2)
    scale = replace(SCALE, crop=32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), dict(shapes))
    after = change_channels(Network(model, zeros, scale, (), "googlenet"), 1)
    assert not after.model.transform_input
    assert after.preprocessing.mean == after.preprocessing.std == (0.5,)


def test_what_cannot_be_adapted_is_said():
    with pytest.raises(ConfigError, match="mlp takes images of 3 channels, got 1; only a convol"):
        change_channels(network("mlp"), 1)
    with pytest.raises(ConfigError, match="takes no images"):
        change_channels(replace(network("simple_cnn"), preprocessing=None), 1)
