"""AdaIN: what the encoder sees is mixed, and any size comes back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.description import describe, rebuild
from cnn_jax.models import VGG, AdaIN, create_model
from tests.tolerance import assert_close

MODEL = AdaIN(
    VGG((1, 2, 1), (2, 3, 4), hidden=None, num_classes=0), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
)


@pytest.fixture(scope="module")
def variables():
    images = jnp.zeros((1, 16, 16, 3))
    return jax.jit(MODEL.init)(jax.random.key(0), images, images)


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(0, 1, (*shape, 3)), jnp.float32)


def test_the_decoder_mirrors_vgg_19_as_the_authors_one():
    model = AdaIN(create_model("vgg19").until("conv4_1"), (0.5,) * 3, (0.2,) * 3)
    shapes = jax.eval_shape(model.init, jax.random.key(0), *[jnp.zeros((1, 16, 16, 3))] * 2)
    assert shapes["params"].keys() == {"encoder", "decoder"}
    kernels = [layer["conv"]["kernel"].shape for layer in shapes["params"]["decoder"].values()]
    widths = [(512, 256), (256, 256), (256, 256), (256, 256), (256, 128)]
    widths += [(128, 128), (128, 64), (64, 64), (64, 3)]
    assert sorted(kernels) == sorted((3, 3, *pair) for pair in widths)
    # The sum of the decoder of github.com/naoto0804/pytorch-AdaIN.
    decoder = jax.tree.leaves(shapes["params"]["decoder"])
    assert sum(leaf.size for leaf in decoder) == 3_505_219


def test_maps_take_the_statistics_of_the_style(variables):
    content, style = draw(2, 16, 24), draw(1, 24, 16, seed=1) ** 3
    apply = jax.jit(MODEL.apply, static_argnames="method")
    mixed = apply(variables, content, style, method="mixed")
    *_, maps = apply(variables, style, method="encode").values()
    assert_close(mixed.mean((1, 2)), np.tile(maps.mean((1, 2)), (2, 1)), rtol=1e-4)
    none = apply(variables, content, style, 0.0, method="mixed")
    *_, own = apply(variables, content, method="encode").values()
    assert_close(none, own, rtol=1e-5)
    half = apply(variables, content, style, 0.5, method="mixed")
    assert_close(half, (mixed + none) / 2, rtol=1e-5, atol=1e-6)


def test_the_encoder_sees_normalized_images(variables):
    images = draw(1, 8, 8)
    maps = MODEL.apply(variables, images, method="encode")
    assert list(maps) == ["conv1_1", "conv2_1", "conv2_2", "conv3_1"]
    mean, std = (np.array(one)[None, None, None] for one in (MODEL.mean, MODEL.std))
    encoder = {"params": variables["params"]["encoder"]}
    alone = MODEL.vgg.apply(encoder, jnp.asarray((images - mean) / std), method="features")
    assert_close(maps["conv3_1"], alone["conv3_1"], rtol=1e-5)


@pytest.mark.parametrize("size", [(8, 8), (9, 15), (18, 11)])
def test_any_size_comes_back(variables, size):
    shape = jax.eval_shape(MODEL.apply, variables, draw(2, *size), draw(1, 12, 10)).shape
    assert shape == (2, *size, 3)


def test_a_run_can_describe_it():
    assert rebuild(describe(MODEL)) == MODEL
