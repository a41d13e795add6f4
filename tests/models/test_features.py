"""The strides that all registered models state for their features."""

import pytest

from cnn_jax.models import (
    ConvAutoencoder,
    EncoderClassifier,
    create_model,
    example_shape,
    list_models,
)
from cnn_jax.models.summary import feature_shapes

# A thousand layers take a minute to trace.
NAMES = [
    pytest.param(name, marks=[pytest.mark.full] if name == "cifar_resnet1202" else [])
    for name in list_models()
]


def strides(model, channels):
    """Of each map, exactly: from the columns that 256 more pixels in width add."""
    shapes = feature_shapes(model, (256, 512, channels))
    maps = {name: shape for name, shape in shapes.items() if len(shape) == 3}
    return {name: 256 / (width - height) for name, (height, width, _) in maps.items()}


@pytest.mark.parametrize("name", NAMES)
def test_strides_are_those_of_the_maps(name):
    *_, channels = example_shape(name)
    fixed_size = {"image_shape": (256, 512, channels)} if name.endswith("autoencoder") else {}
    model = create_model(name, **fixed_size)
    assert list(model.feature_strides().items()) == list(strides(model, channels).items())


def test_vectors_have_no_stride():
    autoencoder = ConvAutoencoder()
    assert autoencoder.feature_strides() == {"stage1": 2, "stage2": 4}
    assert EncoderClassifier(autoencoder).feature_strides() == {"stage1": 2, "stage2": 4}
    assert create_model("mlp").feature_strides() == {}
