import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models import WideResNet, create_model
from tests.tolerance import assert_close

# Table 4 of the paper: 2.7M, 36.5M and 2.2M; exact for 10 classes in the authors' form, with
# shortcuts of 1x1 convolutions without BatchNorm (github.com/xternalz/WideResNet-pytorch).
PARAMETERS = {
    "cifar_wrn16_4": 2_748_890,
    "cifar_wrn28_10": 36_479_194,
    "cifar_wrn40_2": 2_243_546,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name):
    model = create_model(name)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == PARAMETERS[name]


@pytest.fixture(scope="module")
def images():
    return jax.random.normal(jax.random.key(1), (4, 8, 9, 3))


@pytest.fixture(scope="module")
def variables(images):
    return jax.jit(WideResNet(16, 2).init)(jax.random.key(0), images)


def test_features_are_named_from_stem_to_last_stage(images, variables):
    features = WideResNet(16, 2).apply(variables, images, method="features")
    assert [(name, value.shape[1:]) for name, value in features.items()] == [
        ("stem", (8, 9, 16)),
        ("stage1", (8, 9, 32)),
        ("stage2", (4, 5, 64)),
        ("stage3", (2, 3, 128)),
    ]
    # Sums are not activated; the last map is.
    assert min(jnp.min(features[name]) for name in ("stem", "stage1", "stage2")) < 0
    assert jnp.min(features["stage3"]) >= 0


def test_a_block_is_normalization_activation_convolution_twice_and_the_identity(images, variables):
    """By hand, in float64, out of the variables of a block that changes its shape and one not."""
    with jax.enable_x64(True):
        variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), variables)
        body = variables["params"]["body"]
        features = WideResNet(16, 2).apply(
            variables, jnp.asarray(images, jnp.float64), method="features"
        )
        x = features["stage1"]
        for block, stride in (("stage2_block1", 2), ("stage2_block2", 1)):
            x = block_by_hand(x, body[block], stride)
        assert_close(x, features["stage2"])


def block_by_hand(x, params, stride):
    def convolve(x, kernel, stride):
        same = [(k // 2, k // 2) for k in kernel.shape[:2]]
        numbers = ("NHWC", "HWIO", "NHWC")
        strides = (stride, stride)
        return jax.lax.conv_general_dilated(x, kernel, strides, same, dimension_numbers=numbers)

    def activated(x, scale):  # with the running statistics of the start, 0 and 1
        return jnp.maximum(x / np.sqrt(1 + 1e-5) * scale[None, None, None, :], 0)

    y = activated(x, params["norm1"]["scale"])
    shortcut = x
    if "shortcut_conv" in params:
        shortcut = convolve(y, params["shortcut_conv"]["kernel"], stride)
    y = convolve(y, params["conv1"]["kernel"], stride)
    y = convolve(activated(y, params["norm2"]["scale"]), params["conv2"]["kernel"], 1)
    return shortcut + y


def test_dropout_silences_the_branch_in_training_alone(images, variables):
    plain, dropped = (WideResNet(16, 2, rate, norm="frozen") for rate in (0.0, 1.0))
    assert_close(dropped.apply(variables, images), plain.apply(variables, images), rtol=0, atol=0)
    rngs, method = {"dropout": jax.random.key(0)}, "features"
    features = dropped.apply(variables, images, train=True, rngs=rngs, method=method)
    silent = jax.tree.map(jnp.asarray, variables)
    for name, block in silent["params"]["body"].items():
        if "block" in name:
            block["conv2"]["kernel"] = jnp.zeros_like(block["conv2"]["kernel"])
    expected = plain.apply(silent, images, method=method)
    assert_close(features, expected, rtol=1e-6)


def test_frozen_norms_keep_their_statistics_in_training(images, variables):
    model = WideResNet(16, 2, norm="frozen")
    logits, updated = model.apply(variables, images, train=True, mutable=["batch_stats"])
    assert_close(updated["batch_stats"], variables["batch_stats"], rtol=0, atol=0)
    assert_close(logits, model.apply(variables, images), rtol=1e-6)


def test_bfloat16_leaves_parameters_and_logits_in_float32(images, variables):
    model = WideResNet(16, 2, dtype=jnp.bfloat16)
    own = jax.eval_shape(model.init, jax.random.key(0), images)
    kept = jax.tree.leaves((own, model.apply(variables, images)))
    assert {leaf.dtype for leaf in kept} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize(("depth", "nearest"), [(4, 10), (20, 22), (30, 28)])
def test_a_depth_that_is_not_6n_plus_4_is_refused(depth, nearest):
    with pytest.raises(
        ValueError, match=rf"depth {depth} is not 6n \+ 4; the nearest is {nearest}"
    ):
        WideResNet(depth, 2)


@pytest.mark.usefixtures("no_shape_hook")
def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="norm must be one of 'batch', 'frozen', got 'none'"):
        WideResNet(16, 2, norm="none")
    with pytest.raises(ValueError, match="0x32 pixels are too small .* at least 1x1"):
        WideResNet(16, 2).init(jax.random.key(0), jnp.zeros((1, 0, 32, 3)))
