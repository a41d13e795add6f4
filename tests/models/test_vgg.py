import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models import VGG, create_model
from tests.tolerance import assert_close

PARAMETERS = {
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840,
    "vgg13_bn": 133_053_736,
    "vgg16_bn": 138_365_992,
    "vgg19_bn": 143_678_248,
    "cifar_vgg9": 584_874,
    # github.com/kuangliu/pytorch-cifar, VGG('VGG11') to VGG('VGG19').
    "cifar_vgg11": 9_231_114,
    "cifar_vgg13": 9_416_010,
    "cifar_vgg16": 14_728_266,
    "cifar_vgg19": 20_040_522,
}
SMALL = {"stage_sizes": (1, 2), "widths": (4, 6), "hidden": (5, 7), "num_classes": 3}


def shapes(model):
    return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name):
    leaves = jax.tree.leaves(shapes(create_model(name))["params"])
    assert sum(leaf.size for leaf in leaves) == PARAMETERS[name]


@pytest.mark.parametrize("name", ["vgg13", "vgg16_bn", "cifar_vgg16"])
def test_torch_names_are_all_of_the_variables(name):
    model = create_model(name)
    paths = ["/".join(k.key for k in path) for path, _ in jax.tree.leaves_with_path(shapes(model))]
    assert sorted(model.torch_names().values()) == sorted(paths)


@pytest.fixture(scope="module")
def images():
    return jax.random.normal(jax.random.key(1), (2, 9, 12, 2))


@pytest.fixture(scope="module")
def variables(images):
    return jax.jit(VGG(**SMALL, norm="batch").init)(jax.random.key(0), images)


def test_features_are_named_as_in_the_paper(images, variables):
    features = VGG(**SMALL, norm="batch").apply(variables, images, method="features")
    assert [(name, value.shape[1:]) for name, value in features.items()] == [
        ("conv1_1", (9, 12, 4)),
        ("stage1", (4, 6, 4)),
        ("conv2_1", (4, 6, 6)),
        ("conv2_2", (4, 6, 6)),
        ("stage2", (2, 3, 6)),
    ]
    assert all(jnp.min(value) >= 0 for value in features.values())


def test_average_pooling_replaces_the_maximum(images, variables):
    model = VGG(**SMALL, norm="batch", pooling="average")
    features = model.apply(variables, images, method="features")
    blocks = np.asarray(features["conv1_1"])[:, :8].reshape(2, 4, 2, 6, 2, 4)
    assert_close(features["stage1"], blocks.mean(axis=(2, 4)), rtol=1e-6)


def test_a_part_of_the_network_has_some_of_its_parameters_and_maps(images, variables):
    model = VGG(**SMALL, norm="batch")
    part = model.until("conv2_1")
    own = jax.eval_shape(part.init, jax.random.key(0), images)
    kept = {"conv1_1", "norm1_1", "conv2_1", "norm2_1"}
    assert own["params"].keys() == {"body"} and own["params"]["body"].keys() == kept
    whole = model.apply(variables, images, method="features")
    maps = part.apply(variables, images, method="features")
    for name in ("conv1_1", "stage1", "conv2_1"):
        assert_close(maps[name], whole[name], rtol=1e-6)
    with pytest.raises(ValueError, match="layer must be one of conv1_1, conv2_1, .*, got 'stage1'"):
        model.until("stage1")


def test_initialization_is_torchvision_s():
    params = jax.jit(VGG((2,), (64,), hidden=(512, 32)).init)(
        jax.random.key(0), jnp.zeros((1, 8, 8, 3))
    )["params"]
    kernel = np.asarray(params["body"]["conv1_2"]["kernel"])
    assert np.std(kernel) == pytest.approx(np.sqrt(2 / (9 * 64)), rel=0.03)
    assert np.std(params["head"]["fc6"]["kernel"]) == pytest.approx(0.01, rel=0.03)
    assert np.std(params["head"]["fc7"]["kernel"]) == pytest.approx(0.01, rel=0.03)
    biases = [leaf for path, leaf in jax.tree.leaves_with_path(params) if path[-1].key == "bias"]
    assert len(biases) == 5 and not any(np.any(bias) for bias in biases)


def test_every_hidden_layer_is_dropped_in_training_alone(images, variables):
    """All of the last one dropped, the bias of the output layer is left."""
    plain, dropped = (VGG(**SMALL, norm="frozen", dropout=rate) for rate in (0.0, 1.0))
    assert_close(dropped.apply(variables, images), plain.apply(variables, images), rtol=0, atol=0)
    rngs = {"dropout": jax.random.key(0)}
    logits = dropped.apply(variables, images, train=True, rngs=rngs)
    assert_close(logits, np.tile(variables["params"]["head"]["fc8"]["bias"], (2, 1)), rtol=0)
    gradient = jax.grad(
        lambda p: jnp.sum(
            dropped.apply({**variables, "params": p}, images, train=True, rngs=rngs) ** 2
        )
    )(variables["params"])
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient["head"]["fc6"]))


def test_frozen_norms_keep_their_statistics_in_training(images, variables):
    model = VGG(**SMALL, norm="frozen", dropout=0.0)
    logits, updated = model.apply(variables, images, train=True, mutable=["batch_stats"])
    assert_close(updated["batch_stats"], variables["batch_stats"], rtol=0, atol=0)
    assert_close(logits, model.apply(variables, images), rtol=1e-6)


def test_bfloat16_leaves_parameters_and_logits_in_float32(images, variables):
    model = VGG(**SMALL, norm="batch", dtype=jnp.bfloat16)
    own = jax.eval_shape(model.init, jax.random.key(0), images)
    kept = jax.tree.leaves((own, model.apply(variables, images)))
    assert {leaf.dtype for leaf in kept} == {jnp.dtype(jnp.float32)}
    features = model.apply(variables, images, method="features")
    assert {leaf.dtype for leaf in features.values()} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.usefixtures("no_shape_hook")
def test_attributes_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="norm must be one of 'none', 'batch', 'frozen', got 'b"):
        create_model("vgg11", norm="bn")
    with pytest.raises(ValueError, match="pooling must be one of 'max', 'average', got 'avg'"):
        create_model("vgg11", pooling="avg")
    with pytest.raises(ValueError, match="unknown attribute 'hidden' of model 'cifar_vgg16'"):
        create_model("cifar_vgg16", hidden=(3, 3))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 224, 224), r"looks like \[batch, channels, height, width\]; transpose"),
        ((1, 31, 40, 3), "31x40 pixels are too small .* at least 32x32; .*--data.image-size 32"),
    ],
)
@pytest.mark.usefixtures("no_shape_hook")
def test_images_that_do_not_fit_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        create_model("vgg16").init(jax.random.key(0), jnp.zeros(shape))
