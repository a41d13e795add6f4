import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models import SimpleCNN, create_model
from tests.references.records import assert_equals_record
from tests.references.small_models import (
    CNN,
    CNN_COTANGENT,
    CNN_IMAGES,
    drawn_params,
    named,
    torch_cnn,
)
from tests.tolerance import assert_close


def parameters(model, *shape):
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *shape)))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


def test_parameters():
    expected = 9 * 32 + 2 * 32 + 9 * 32 * 64 + 2 * 64 + (7 * 7 * 64 + 1) * 10
    assert parameters(create_model("simple_cnn"), 28, 28, 1) == expected == 50_282 < 100_000
    bare = SimpleCNN((4,), kernel_size=5, num_classes=3, norm="none")
    assert parameters(bare, 8, 8, 3) == (25 * 3 + 1) * 4 + (4 * 4 * 4 + 1) * 3


@pytest.fixture(scope="module")
def images():
    return jax.random.normal(jax.random.key(1), (4, 9, 8, 2))


@pytest.fixture(scope="module")
def variables(images):
    return jax.jit(SimpleCNN((3, 5), num_classes=6).init)(jax.random.key(0), images)


def test_features_are_pooled_in_forward_order(images, variables):
    features = SimpleCNN((3, 5), num_classes=6).apply(variables, images, method="features")
    assert [(name, value.shape) for name, value in features.items()] == [
        ("stem", (4, 4, 4, 3)),
        ("stage1", (4, 2, 2, 5)),
    ]


def our_step(norm):
    """Outputs and gradients in training, so with the batch's statistics, in float64."""
    model = SimpleCNN(**CNN, norm=norm)
    with jax.enable_x64(True):
        images = jnp.asarray(CNN_IMAGES)
        variables = dict(model.init(jax.random.key(0), images))

        def loss(params):
            outputs, _ = model.apply(
                {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
            )
            return jnp.sum(outputs * CNN_COTANGENT), outputs

        params = jax.tree.map(jnp.asarray, drawn_params(model, images.shape[1:]))
        gradients, outputs = jax.jit(jax.grad(loss, has_aux=True))(params)
    return named(outputs, gradients)


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_equals_the_record_of_pytorch(norm):
    assert_equals_record(f"simple_cnn_{norm}", our_step(norm))


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_equals_pytorch_itself(norm):
    pytest.importorskip("torch", reason="torch is not installed")
    params = drawn_params(SimpleCNN(**CNN, norm=norm), CNN_IMAGES.shape[1:])
    assert_close(our_step(norm), torch_cnn(params))


def test_frozen_norms_keep_their_statistics_in_training(images, variables):
    model = SimpleCNN((3, 5), num_classes=6, norm="frozen", dropout=0.0)
    logits, updated = model.apply(variables, images, train=True, mutable=["batch_stats"])
    assert_close(updated["batch_stats"], variables["batch_stats"], rtol=0, atol=0)
    assert_close(logits, model.apply(variables, images), rtol=1e-6)


def test_dropout_is_for_training_alone(images, variables):
    model = SimpleCNN((3, 5), num_classes=6, norm="frozen", dropout=1.0)
    without = SimpleCNN((3, 5), num_classes=6, norm="frozen", dropout=0.0)
    assert_close(model.apply(variables, images), without.apply(variables, images), rtol=0, atol=0)
    rngs = {"dropout": jax.random.key(0)}
    logits = model.apply(variables, images, train=True, rngs=rngs)
    assert_close(logits, np.tile(variables["params"]["head"]["bias"], (4, 1)), rtol=0, atol=0)


def test_an_empty_batch_has_no_logits(images, variables):
    assert SimpleCNN((3, 5), num_classes=6).apply(variables, images[:0]).shape == (0, 6)


def test_bfloat16_leaves_parameters_and_logits_in_float32(images, variables):
    model = SimpleCNN((3, 5), num_classes=6, dtype=jnp.bfloat16)
    assert model.apply(variables, images).dtype == jnp.float32
    features = model.apply(variables, images, method="features")
    assert {leaf.dtype for leaf in features.values()} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"norm": "group"}, "norm must be one of 'none', 'batch', 'frozen', got 'group'"),
        ({"kernel_size": 4}, "kernel_size must be odd, .* got 4"),
        ({"widths": ()}, r"at least one convolution, got \(\)"),
    ],
)
@pytest.mark.usefixtures("no_shape_hook")
def test_attributes_that_make_no_sense_are_refused(attributes, message):
    with pytest.raises(ValueError, match=message):
        SimpleCNN(**attributes)


@pytest.mark.usefixtures("no_shape_hook")
def test_images_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="3x28 pixels are too small .* at least 4x4"):
        SimpleCNN().init(jax.random.key(0), jnp.zeros((1, 3, 28, 1)))
