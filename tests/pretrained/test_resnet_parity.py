"""The same weights give torchvision's logits, gradients and running statistics."""

import functools
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from cnn_jax.models import create_model
from cnn_jax.pretrained import from_torch
from tests.pretrained.parity import ours
from tests.references.torchvision_models import import_torchvision, reference
from tests.references.weights import NUMBER_OF_CLASSES, digest, images_and_labels, weights
from tests.tolerance import assert_close

REFERENCES = Path(__file__).parent.parent / "references"


def recorded(name):
    return json.loads((REFERENCES / f"{name}.json").read_text())


def state_dict(record):
    tensors = {
        key.split("/", 1)[1]: tuple(value["shape"])
        for key, value in record.items()
        if key.startswith(("gradients/", "statistics/"))
    }
    return weights(tensors)


@functools.cache
def our_result(name):
    record = recorded(name)
    return ours(name, state_dict(record), record["batch"], record["size"])


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_equals_the_record_of_torchvision(name):
    record = recorded(name)
    expected = {key: value for key, value in record.items() if isinstance(value, dict)}
    actual = {}
    for key, value in our_result(name).items():
        if isinstance(value, dict):
            actual |= {f"{key}/{name}": array for name, array in value.items()}
        else:
            actual[key] = value
    assert {key: list(array.shape) for key, array in actual.items()} == {
        key: value["shape"] for key, value in expected.items()
    }
    for key, value in expected.items():
        mine = digest(actual[key])
        # The eight values stand for a tensor whose largest value is not below its mean square.
        scale = value["norm"] / np.sqrt(actual[key].size)
        assert_close(mine["norm"], value["norm"])
        difference = np.abs(np.subtract(mine["values"], value["values"])).max()
        assert difference <= 1e-8 * scale + 1e-10, f"{key}: {difference:.3g}, scale {scale:.3g}"


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_float32_logits_equal_the_record_of_torchvision(name):
    record = recorded(name)
    model = create_model(name, num_classes=NUMBER_OF_CLASSES)
    variables = from_torch(model, state_dict(record))
    images, _ = images_and_labels(record["batch"], record["size"])
    logits = jax.jit(model.apply)(variables, images.astype(np.float32))
    assert logits.dtype == np.float32
    mine, expected = digest(logits), record["eval_logits"]
    assert_close(mine["values"], expected["values"], rtol=1e-4)
    assert_close(mine["norm"], expected["norm"], rtol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_equals_torchvision_itself(name):
    pytest.importorskip("torch", reason="torch is not installed")
    try:
        import_torchvision()
    except ImportError as error:
        pytest.skip(f"torchvision cannot be imported (set CNN_JAX_TORCHVISION_CPU?): {error}")
    record = recorded(name)
    expected = reference(name, record["batch"], record["size"])
    assert_close(expected.pop("state_dict"), state_dict(record))
    assert_close(our_result(name), expected)
