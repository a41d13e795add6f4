import dataclasses
import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from cnn_jax.description import DescriptionError, describe, rebuild
from cnn_jax.layers import Conv, Linear, relu
from cnn_jax.models import (
    MLP,
    Autoencoder,
    ConvAutoencoder,
    EncoderClassifier,
    create_model,
    list_models,
)
from cnn_jax.pretrained import Preprocessing
from cnn_jax.tasks import Classification, Reconstruction, Regression
from experiments import mlp_regression


def through_json(value):
    return rebuild(json.loads(json.dumps(describe(value))))


@pytest.mark.parametrize("name", list_models())
def test_every_model_comes_back(name):
    model = create_model(name)
    assert through_json(model) == model
    if hasattr(model, "dtype"):
        half = model.clone(dtype=jnp.bfloat16)
        assert through_json(half) == half and through_json(half) != model


@pytest.mark.parametrize(
    "value",
    [
        Classification(MLP(hidden=(), num_classes=3), loss="hinge", auxiliary_weight=0.4),
        Classification(create_model("cifar_resnet20", norm="frozen"), label_smoothing=0.1),
        Regression(MLP((7, 5), 1, norm="batch"), loss="huber"),
        Reconstruction(Autoencoder(tied=True, hidden=(4,)), loss="bernoulli"),
        Reconstruction(ConvAutoencoder(widths=(4, 8)), output="identity"),
        Classification(EncoderClassifier(Autoencoder(code=2), num_classes=3)),
        Conv(3, kernel_size=(3, 1), kernel_init=jax.nn.initializers.zeros, dtype=np.dtype("half")),
        Linear(5, kernel_init=nn.initializers.ones_init(), name="last"),
        Preprocessing(0, (8, 6), (0.5,), (1.0,)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_tasks_and_modules_come_back(value):
    assert through_json(value) == value


def test_a_rebuilt_model_computes_the_same():
    model = create_model("simple_cnn", num_classes=3, dtype=jnp.bfloat16)
    images = jax.random.normal(jax.random.key(1), (2, 8, 8, 1))
    variables = jax.jit(model.init)(jax.random.key(0), images)
    expected, found = (
        jax.jit(one.apply)(variables, images) for one in (model, through_json(model))
    )
    np.testing.assert_array_equal(found, expected)


@dataclasses.dataclass(frozen=True)
class Held:
    """Holds any one value. A double of a class of ours, see the fixture `ours`."""

    value: Any
    ready: Callable[[Any], Any] = relu


@pytest.fixture(autouse=True)
def ours(monkeypatch):
    """This module lies where the descriptions' modules have to lie."""
    module = sys.modules[__name__]
    monkeypatch.setitem(sys.modules, "cnn_jax.held", module)
    monkeypatch.setattr(module.__spec__, "name", "cnn_jax.held")
    monkeypatch.setattr(Held, "__module__", "cnn_jax.held")


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        1,
        2.5,
        "text",
        (),
        ((1, "a"), (2.0, None)),
        {"stage1": 1.0, "stage2": (0.5, {"inner": 1})},
        jnp.float32,
        jnp.int32,
        jax.nn.gelu,
        relu,
        Conv,
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_values_come_back(value):
    found = through_json(Held(value))
    assert found == Held(value) and type(found.value) is type(value)


def test_the_kinds_of_dtypes_are_one():
    for dtype in (jnp.bfloat16, np.dtype(jnp.bfloat16), jnp.bfloat16.dtype.type):
        assert through_json(Held(dtype)).value is jnp.bfloat16


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (lambda x: x, "cannot be imported by name"),
        (partial(relu), "cannot be imported by name"),
        (nn.initializers.normal(), "cannot be imported by name"),
        (json.dumps, "cannot be imported by name"),
        (np.zeros(3), "is a ndarray, which cannot be described"),
        ([1], "is a list, which cannot be described"),
        ({1, 2}, "is a set, which cannot be described"),
    ],
)
def test_what_cannot_be_described_is_named(value, reason):
    with pytest.raises(DescriptionError, match=rf"Held\.value\[1\]\.value .*{reason}"):
        describe(Held((0, Held(value))))


def test_a_module_that_was_started_has_its_real_name(monkeypatch):
    # As python -m experiments.mlp_regression leaves it.
    monkeypatch.setitem(sys.modules, "__main__", mlp_regression)
    monkeypatch.setattr(mlp_regression.build, "__module__", "__main__")
    assert describe(mlp_regression.build) == {"function": "experiments.mlp_regression.build"}


@pytest.mark.parametrize(
    "path",
    [
        "os.system",
        "builtins.eval",
        "subprocess.run",
        "functools.partial",
        "jax.numpy.save",
        "numpy.load",
        "tests.test_description.through_json",
        "system",
        "",
        "cnn_jax.download.Path",  # imported there, not its own
        "cnn_jax.description.importlib",
        "cnn_jax.description.importlib.import_module",
        "experiments.__main__.main",
        "experiments._private.main",
        "cnn_jaxer.layers.relu",
        "cnn_jax.models.resnet.__builtins__",
        "cnn_jax.models.nowhere.ResNet",
        "cnn_jax.models.resnet.NoSuchNet",
        "cnn_jax.models",
        "jax.nn.initializers",
        "jax.nn.initializers.zeros.__globals__",
    ],
)
@pytest.mark.parametrize("kind", ["class", "function"])
def test_nothing_else_is_imported_or_called(path, kind):
    before = set(sys.modules)
    with pytest.raises(DescriptionError):
        rebuild({kind: path, "fields": {}})
    assert set(sys.modules) == before


@pytest.mark.parametrize(
    "description",
    [
        {"class": "cnn_jax.layers.activations.relu", "fields": {}},  # a function is not called
        {"class": "cnn_jax.models.resnet.ResNet"},
        {"dtype": "os"},
        {"dtype": "f4,f4"},
        {"object": "cnn_jax.models.resnet.ResNet"},
        [{}],
    ],
)
def test_what_is_no_description_is_refused(description):
    with pytest.raises(DescriptionError):
        rebuild(description)


@pytest.mark.parametrize("fields", [{"nothing": 1}, {}])
def test_other_fields_are_refused(fields):
    with pytest.raises(DescriptionError, match="refuses the fields.* the code has changed since"):
        rebuild({"class": "cnn_jax.tasks.regression.Regression", "fields": fields})


def test_a_field_that_is_new_has_its_default():
    described = describe(MLP())
    del described["fields"]["dropout"]
    assert rebuild(described) == MLP()
