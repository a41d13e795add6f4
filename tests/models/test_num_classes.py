"""Classifiers without their last layer, and numbers of classes that make no sense."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from cnn_jax.errors import ConfigError
from cnn_jax.models import EncoderClassifier, create_model, example_shape
from cnn_jax.models.autoencoder import Autoencoder
from cnn_jax.pretrained import change_num_classes, from_torch, to_torch
from tests.tolerance import assert_close

FEATURES = {
    "alexnet": 4096,
    "cifar_airbench94": 256,
    "cifar_resnet20": 64,
    "cifar_vgg11": 512,
    "cifar_wrn16_4": 256,
    "densenet121": 1024,
    "googlenet": 1024,
    "inception_v3": 2048,
    "lenet5": 84,
    "mlp": 100,
    "resnet50": 2048,
    "simple_cnn": 3136,
    "vgg11": 4096,
}


def shapes(model, name):
    images = jnp.zeros((2, *example_shape(name)))
    output, variables = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), images))
    return output.shape, flatten_dict(variables, sep="/")


@pytest.mark.parametrize("name", FEATURES)
def test_no_classes_give_the_features_before_the_last_layer(name):
    whole = shapes(create_model(name, num_classes=3), name)
    for number in (0, None):
        model = create_model(name, num_classes=number)
        output, variables = shapes(model, name)
        assert output == (2, FEATURES[name])
        left_out = sorted(whole[1].keys() - variables.keys())
        assert left_out and all("/head/" in path for path in left_out)
        assert whole[1][left_out[-1]].shape == (FEATURES[name], 3)
        if hasattr(model, "torch_names"):
            assert sorted(model.torch_names().values()) == sorted(variables)


def test_the_features_are_what_the_last_layer_sees():
    images = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
    model = create_model("simple_cnn", num_classes=3)
    variables = model.init(jax.random.key(0), images)
    features = create_model("simple_cnn", num_classes=0).apply(variables, images)
    head = variables["params"]["head"]
    assert_close(
        features @ head["kernel"] + head["bias"][None], model.apply(variables, images), rtol=1e-5
    )


def test_an_encoder_gives_its_code():
    model = EncoderClassifier(Autoencoder(hidden=(5,), code=4), num_classes=0)
    output, variables = shapes(model, "mlp")
    assert output == (2, 4) and not any("head" in path for path in variables)


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.usefixtures("no_shape_hook")
def test_a_number_that_is_none_is_refused_where_the_model_is_made(name):
    for number in (-1, "10", 2.5):
        with pytest.raises(ConfigError, match=f"num_classes must be a number .*, got {number!r}"):
            create_model(name, num_classes=number)


@pytest.mark.usefixtures("no_shape_hook")
def test_numpy_s_integers_are_numbers_of_classes():
    assert type(create_model("mlp", num_classes=np.int64(7)).num_classes) is int


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_classifiers_need_classes(name):
    with pytest.raises(ConfigError, match="aux_logits=True needs classes: set num_classes"):
        create_model(name, num_classes=0, aux_logits=True)


def test_weights_with_a_last_layer_fit_a_model_without_it():
    """And the last layer can be taken away from variables."""
    shape = (32, 32, 3)
    model, features = (create_model("cifar_lenet5", num_classes=n) for n in (10, 0))
    variables = model.init(jax.random.key(0), jnp.zeros((1, *shape)))
    state = to_torch(model, variables)
    without = from_torch(features, state, shape)
    changed, kept, drawn = change_num_classes(model, variables, 0, jax.random.key(0), shape)
    assert changed == features and drawn == ()
    assert_close(kept, without, rtol=0, atol=0)
    names = set(state) - set(to_torch(features, without))
    assert names == {"fc3.weight", "fc3.bias"}
