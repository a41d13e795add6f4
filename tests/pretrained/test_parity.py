"""Maps, logits, gradients and running statistics equal torchvision's with the same weights."""

import functools

import numpy as np
import pytest

from tests.pretrained.parity import BATCH, drawn_weights, ours
from tests.references.classifiers import CLASSIFIERS, RECORDED
from tests.references.records import assert_equals_record
from tests.references.torchvision_models import import_torchvision, reference
from tests.references.weights import digest
from tests.tolerance import assert_close


@functools.cache
def weights(name):
    return drawn_weights(RECORDED[name])


@functools.cache
def our_result(name):
    """Results in evaluation and in training, in float64."""
    classifier, arrays = RECORDED[name], {}
    (size,) = classifier.sizes
    for mode, train in (("eval", False), ("train", True)):
        values = ours(classifier, weights(name), BATCH, size, train=train, gradients=train)
        arrays |= {f"{mode}/{key}": value for key, value in values.items()}
    return arrays


@pytest.mark.parametrize("name", RECORDED)
def test_equals_the_record_of_torchvision(name):
    assert_equals_record(name, our_result(name))


@pytest.mark.parametrize("name", ["resnet18"])
def test_float32_equals_float64_in_evaluation(name):
    """And with the record also torchvision."""
    classifier = RECORDED[name]
    (size,) = classifier.sizes
    options = {"train": False, "gradients": False, "dtype": np.float32}
    for key, value in ours(classifier, weights(name), BATCH, size, **options).items():
        assert value.dtype == np.float32
        assert_close(value, our_result(name)[f"eval/{key}"], rtol=1e-4)


SMALL = {
    28: [0.0943502092655, -0.401079622621, -0.37466280498, 0.253430347433],
    1: [-0.110837639472, -0.272514893882, 0.0352283132573, 0.146562280326],
}
"""Four of torchvision's logits, at the first indices of a record."""


@pytest.mark.parametrize("size", SMALL)
def test_a_resnet_takes_small_images_as_torchvision_does(size):
    options = {"train": False, "gradients": False}
    logits = ours(RECORDED["resnet18"], weights("resnet18"), BATCH, size, **options)["logits"]
    assert_close(digest(logits)["values"][:4], SMALL[size])


@pytest.fixture
def torchvision():
    pytest.importorskip("torch", reason="torch is not installed")
    try:
        return import_torchvision()
    except ImportError as error:
        pytest.skip(f"torchvision cannot be imported (set CNN_JAX_TORCHVISION_CPU?): {error}")


@pytest.mark.parametrize("size", SMALL)
@pytest.mark.usefixtures("torchvision")
def test_small_images_equal_torchvision_itself(size):
    options = {"train": False, "gradients": False}
    case = RECORDED["resnet18"], weights("resnet18"), BATCH, size
    assert_close(ours(*case, **options), reference(*case, **options))


@pytest.mark.parametrize("name", ["resnet18"])
@pytest.mark.usefixtures("torchvision")
def test_equals_torchvision_itself(name):
    classifier = RECORDED[name]
    (size,) = classifier.sizes
    expected = reference(classifier, weights(name), BATCH, size, train=True, gradients=True)
    actual = {
        key.removeprefix("train/"): value
        for key, value in our_result(name).items()
        if key.startswith("train/")
    }
    assert_close(actual, expected)


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "size"), [(name, size) for name in CLASSIFIERS for size in CLASSIFIERS[name].sizes]
)
@pytest.mark.usefixtures("torchvision")
def test_equals_torchvision_at_full_size(name, size):
    classifier = CLASSIFIERS[name]
    state_dict = drawn_weights(classifier)
    for train in (False, True):
        options = {"train": train, "gradients": True}
        arrays = [f(classifier, state_dict, BATCH, size, **options) for f in (ours, reference)]
        assert_close(*arrays)
        print(f"{name} {size} train={train}: {worst(*arrays)}")
    # PyTorch's own float32 gradients in training miss this tolerance against float64.
    options = {"train": False, "gradients": False, "dtype": np.float32}
    arrays = [f(classifier, state_dict, BATCH, size, **options) for f in (ours, reference)]
    assert_close(*arrays, rtol=1e-4)
    print(f"{name} {size} float32: {worst(*arrays)}")


def worst(actual, expected):
    """The largest error relative to the largest value of its tensor, and the tensor's name.

    Tensors that are zero except for rounding (gradients of biases before BatchNorm) are excluded;
    they have to meet an absolute error.
    """
    errors = {
        key: np.max(np.abs(actual[key] - value)) / np.max(np.abs(value))
        for key, value in expected.items()
        if np.max(np.abs(value)) > 1e-10
    }
    key = max(errors, key=errors.get)
    return f"{errors[key]:.2g} ({key})"
