import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models import AlexNet, create_model
from cnn_jax.models.summary import feature_shapes
from tests.tolerance import assert_close


def shapes(model):
    return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 63, 63, 3)))


def test_parameters():
    leaves = jax.tree.leaves(shapes(create_model("alexnet"))["params"])
    assert sum(leaf.size for leaf in leaves) == 61_100_840


def test_torch_names_are_all_of_the_variables():
    model = create_model("alexnet")
    paths = ["/".join(k.key for k in path) for path, _ in jax.tree.leaves_with_path(shapes(model))]
    assert sorted(model.torch_names().values()) == sorted(paths)


def test_features_are_the_maps_of_the_paper():
    found = feature_shapes(AlexNet(), (224, 224, 3))
    assert list(found.items()) == [
        ("conv1", (55, 55, 64)),
        ("stage1", (27, 27, 64)),
        ("conv2", (27, 27, 192)),
        ("stage2", (13, 13, 192)),
        ("conv3", (13, 13, 384)),
        ("conv4", (13, 13, 256)),
        ("conv5", (13, 13, 256)),
        ("stage3", (6, 6, 256)),
    ]


@pytest.fixture(scope="module")
def images():
    return jax.random.normal(jax.random.key(1), (2, 63, 64, 3))


@pytest.fixture(scope="module")
def variables(images):
    return jax.jit(AlexNet((5, 7), num_classes=3).init)(jax.random.key(0), images)


def test_every_hidden_layer_s_inputs_are_dropped_in_training_alone(images, variables):
    plain, dropped = (AlexNet((5, 7), rate, num_classes=3) for rate in (0.0, 1.0))
    assert_close(dropped.apply(variables, images), plain.apply(variables, images), rtol=0, atol=0)
    rngs = {"dropout": jax.random.key(0)}
    logits = dropped.apply(variables, images, train=True, rngs=rngs)
    head = variables["params"]["head"]
    hidden = np.maximum(head["fc7"]["bias"], 0)  # of fc6 nothing arrives
    expected = hidden @ np.asarray(head["fc8"]["kernel"]) + head["fc8"]["bias"]
    assert_close(logits, np.tile(expected, (2, 1)), rtol=1e-6)


def test_bfloat16_leaves_parameters_and_logits_in_float32(images, variables):
    model = AlexNet((5, 7), num_classes=3, dtype=jnp.bfloat16)
    own = jax.eval_shape(model.init, jax.random.key(0), images)
    kept = jax.tree.leaves((own, model.apply(variables, images)))
    assert {leaf.dtype for leaf in kept} == {jnp.dtype(jnp.float32)}
    features = model.apply(variables, images, method="features")
    assert {leaf.dtype for leaf in features.values()} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 224, 224), r"looks like \[batch, channels, height, width\]; transpose"),
        ((1, 62, 80, 3), "62x80 pixels are too small .* at least 63x63"),
    ],
)
@pytest.mark.usefixtures("no_shape_hook")
def test_images_that_do_not_fit_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        AlexNet().init(jax.random.key(0), jnp.zeros(shape))
