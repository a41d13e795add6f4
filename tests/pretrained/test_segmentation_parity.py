"""FCN and DeepLabV3 equal torchvision's with the same weights, their auxiliary heads too."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models import DeepLab, ResNet, create_model
from cnn_jax.pretrained import from_torch, to_torch
from cnn_jax.tasks import softmax_cross_entropy
from tests.references.records import assert_equals_record
from tests.references.segmentation import (
    AUXILIARY_WEIGHT,
    CLASSES,
    IGNORED,
    images_and_masks,
    reference,
    torch_network,
)
from tests.references.torchvision_models import import_torchvision
from tests.references.weights import weights
from tests.tolerance import assert_close

WITHOUT_DROPOUT = {"num_classes": CLASSES, "aux_logits": True, "dropout": 0.0, "dropout_aux": 0.0}
SMALL = (1, 1, 1, 1)
"""Blocks of each stage in every run of the tests."""
SIZE = (17, 33)
NAMES = ("fcn_resnet50", "fcn_resnet101", "deeplabv3_resnet50", "deeplabv3_resnet101")


def small_network():
    """DeepLabV3 with its FCN head as auxiliary head, on four blocks."""
    widths = (64, 128, 256, 512)
    body = ResNet("imagenet", "bottleneck", SMALL, widths, dilated_stages=2, num_classes=0)
    return DeepLab(body, "aspp", **WITHOUT_DROPOUT)


def shapes_in_torch(model):
    """The shape of every entry of a model's state dict."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 9, 9, 3)))
    zeros = jax.tree.map(lambda a: np.zeros(a.shape, np.int8), shapes)
    return {name: array.shape for name, array in to_torch(model, zeros).items()}


def drawn_weights(model):
    """A random state dict of a model; PyTorch's names are the seeds."""
    shapes = shapes_in_torch(model)
    return weights({name: shapes[name] for name in model.torch_names()})


def ours(model, state, images, masks, *, train, gradients=True):
    """The results of our model, as in `reference`."""
    with jax.enable_x64(True):
        statistics = from_torch(model, state)
        params, masks = statistics.pop("params"), jnp.asarray(masks)

        def mean_loss(logits):
            losses = softmax_cross_entropy(logits, masks, ignore_index=IGNORED)
            return losses.sum() / jnp.sum(masks != IGNORED)

        def loss_fn(params):
            variables = {"params": params, **statistics}
            outputs, updated = model.apply(
                variables, jnp.asarray(images), train=train, mutable=["batch_stats"]
            )
            logits, *aux = outputs if isinstance(outputs, tuple) else (outputs,)
            loss = mean_loss(logits) + AUXILIARY_WEIGHT * sum(map(mean_loss, aux))
            return loss, ((logits, *aux), updated)

        step = jax.value_and_grad(loss_fn, has_aux=True) if gradients else loss_fn
        result = jax.jit(step)(params)
    (loss, (outputs, updated)), derived = result if gradients else (result, params)
    arrays = {
        name: np.transpose(output, (0, 3, 1, 2))
        for name, output in zip(("logits", "aux"), outputs, strict=False)
    }
    arrays["loss"] = np.asarray(loss)
    in_torch = to_torch(model, {"params": derived, **updated})
    for name, path in model.torch_names().items():
        if path.startswith("params/"):
            if gradients:
                arrays[f"gradients/{name}"] = in_torch[name]
        elif train:
            arrays[f"statistics/{name}"] = in_torch[name]
    return arrays


@functools.cache
def our_result():
    """Results of the small network in evaluation and in training, in float64."""
    model, arrays = small_network(), {}
    state = drawn_weights(model)
    for mode, train in (("eval", False), ("train", True)):
        data = images_and_masks(2, *SIZE)
        # Gradients in evaluation would double the record; the comparison at full depth has them.
        values = ours(model, state, *data, train=train, gradients=train)
        arrays |= {f"{mode}/{key}": value for key, value in values.items()}
    return arrays


def test_a_small_network_equals_the_record_of_torchvision():
    assert_equals_record("deeplabv3_small", our_result())


@pytest.fixture
def torchvision():
    pytest.importorskip("torch", reason="torch is not installed")
    try:
        return import_torchvision()
    except ImportError as error:
        pytest.skip(f"torchvision cannot be imported (set CNN_JAX_TORCHVISION_CPU?): {error}")


@pytest.mark.usefixtures("torchvision")
def test_a_small_network_equals_torchvision_itself():
    state, data = drawn_weights(small_network()), images_and_masks(2, *SIZE)
    model = torch_network("deeplabv3", SMALL)
    expected = reference(model, state, *data, train=True)
    actual = {
        key.removeprefix("train/"): value
        for key, value in our_result().items()
        if key.startswith("train/")
    }
    assert_close(actual, expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("torchvision")
def test_names_and_shapes_are_torchvisions(name):
    import torch

    with torch.device("meta"):
        expected = {
            key: tuple(value.shape) for key, value in torch_network(name).state_dict().items()
        }
    state = shapes_in_torch(create_model(name, **WITHOUT_DROPOUT))
    assert state == expected


@pytest.mark.full
@pytest.mark.parametrize("size", [(64, 64), (97, 65)])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("torchvision")
def test_equals_torchvision_at_full_depth(name, size):
    model, data = create_model(name, **WITHOUT_DROPOUT), images_and_masks(2, *size)
    state = drawn_weights(model)
    for train in (False, True):
        arrays = ours(model, state, *data, train=train)
        assert_close(arrays, reference(torch_network(name), state, *data, train=train))
