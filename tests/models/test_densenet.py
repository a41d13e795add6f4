import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from cnn_jax.models import DenseNet, create_model
from cnn_jax.models.summary import feature_shapes
from tests.tolerance import assert_close

PARAMETERS = {121: 7_978_856, 161: 28_681_000, 169: 14_149_480, 201: 20_013_928}


def shapes(model, size=32):
    return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, size, size, 3)))


@pytest.mark.parametrize("depth", PARAMETERS)
def test_parameters(depth):
    """Of torchvision's table; the depth counts convolutions and the linear layer."""
    params = shapes(create_model(f"densenet{depth}"))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == PARAMETERS[depth]
    assert sum(leaf.ndim > 1 for leaf in jax.tree.leaves(params)) == depth


def test_torch_names_are_all_of_the_variables():
    model = create_model("densenet121")
    assert sorted(model.torch_names().values()) == sorted(flatten_dict(shapes(model), sep="/"))


def test_features_are_named_from_stem_to_last_stage():
    found = feature_shapes(create_model("densenet121"), (224, 224, 3))
    assert list(found.items()) == [
        ("stem", (112, 112, 64)),
        ("stage1", (56, 56, 256)),
        ("stage2", (28, 28, 512)),
        ("stage3", (14, 14, 1024)),
        ("stage4", (7, 7, 1024)),
    ]


@pytest.fixture(scope="module")
def images():
    return jax.random.normal(jax.random.key(1), (2, 29, 29, 3))


@pytest.fixture(scope="module")
def small():
    return DenseNet(3, (2, 2), 6, num_classes=5)


@pytest.fixture(scope="module")
def variables(small, images):
    return jax.jit(small.init)(jax.random.key(0), images)


def test_layers_add_maps_and_keep_those_before(small, variables, images):
    """A stage's first channels are what it was given: here the pooled stem."""
    features = small.apply(variables, images, method="features")
    stem = np.asarray(features["stem"])
    padded = np.pad(stem, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2]
    np.testing.assert_array_equal(features["stage1"][..., :6], windows.max((-2, -1)))
    assert features["stage1"].shape == (2, 8, 8, 6 + 2 * 3)
    # The transition halves height, width and channels; nothing is below zero after the last ReLU.
    assert features["stage2"].shape == (2, 4, 4, 6 + 2 * 3)
    assert float(features["stage2"].min()) == 0


def test_initialization_is_he_s_over_the_fan_in(images):
    """As torchvision's, against the fan-out of its ResNets."""
    model = DenseNet(8, (1,), 64)
    params = jax.jit(model.init)(jax.random.key(0), images)["params"]
    kernel = np.asarray(params["body"]["stem_conv"]["kernel"])
    assert kernel.shape == (7, 7, 3, 64)
    assert np.std(kernel) == pytest.approx(np.sqrt(2 / (49 * 3)), rel=0.03)
    assert not np.any(params["head"]["bias"])


def test_frozen_norms_keep_their_statistics_in_training(small, variables, images):
    model = small.clone(norm="frozen")
    logits, updated = model.apply(variables, images, train=True, mutable=["batch_stats"])
    assert_close(updated["batch_stats"], variables["batch_stats"], rtol=0, atol=0)
    assert_close(logits, model.apply(variables, images), rtol=1e-6)


def test_bfloat16_leaves_parameters_and_logits_in_float32(small, variables, images):
    model = small.clone(dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes(model))} == {jnp.dtype(jnp.float32)}
    assert model.apply(variables, images).dtype == jnp.float32
    features = model.apply(variables, images, method="features")
    assert {leaf.dtype for leaf in features.values()} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.usefixtures("no_shape_hook")
def test_norms_that_there_are_not_are_refused():
    with pytest.raises(ValueError, match="norm must be one of 'batch', 'frozen', got 'none'"):
        create_model("densenet121", norm="none")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((224, 224, 3), r"expected images as \[batch, height, width, channels\], got"),
        ((1, 3, 224, 224), r"looks like \[batch, channels, height, width\]; transpose"),
        ((1, 32, 28, 3), "32x28 pixels are too small .* at least 29x29"),
    ],
)
@pytest.mark.usefixtures("no_shape_hook")
def test_images_that_do_not_fit_are_refused(small, shape, message):
    with pytest.raises(ValueError, match=message):
        small.init(jax.random.key(0), jnp.zeros(shape))
