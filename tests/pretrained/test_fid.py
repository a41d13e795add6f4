"""Inputs, maps and outputs of the network of FID equal torch-fidelity's with the same weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models import create_model, example_shape
from cnn_jax.models.inception import fid_input
from cnn_jax.pretrained import from_torch
from tests.pretrained.parity import drawn_state
from tests.references import fidelity
from tests.references.records import assert_equals_record
from tests.tolerance import assert_close

MODEL = "fid_inception_v3"
CASES = [
    pytest.param(name, marks=() if name == "shrunk" else pytest.mark.full)
    for name in fidelity.CASES
]


@functools.cache
def weights():
    return drawn_state(create_model(MODEL), example_shape(MODEL))


@functools.cache
def our_result(name):
    """As `fidelity.reference`."""
    shape, size = fidelity.CASES[name]
    model = create_model(MODEL)

    @jax.jit
    def compute(variables, images):
        inputs = fid_input(images, size)
        logits, kept = model.apply(
            variables,
            inputs,
            mutable=["intermediates"],
            capture_intermediates=lambda module, method: module.name in ("body", "drop"),
        )
        # What the dropout before the last layer gives, which does nothing here, is FID's features.
        (maps,), (pooled,) = (kept["intermediates"][at]["__call__"] for at in ("body", "drop"))
        return inputs, maps, pooled, logits

    with jax.enable_x64(True):
        images = jnp.asarray(fidelity.pixels(shape), jnp.float64)
        inputs, maps, pooled, logits = compute(from_torch(MODEL, weights()), images)
    arrays = {"input": inputs} | {f"features/{name}": value for name, value in maps.items()}
    arrays = {name: np.transpose(value, (0, 3, 1, 2)) for name, value in arrays.items()}
    return arrays | {"pooled": np.asarray(pooled), "logits": np.asarray(logits)}


@pytest.mark.parametrize("name", CASES)
def test_equals_the_record_of_torch_fidelity(name):
    assert_equals_record(f"{MODEL}_{name.replace(' ', '_')}", our_result(name))


@pytest.mark.full
@pytest.mark.parametrize("name", fidelity.CASES)
def test_equals_torch_fidelity_itself(name):
    """Which takes these weights: they have its names and shapes, and no others."""
    pytest.importorskip("torch", reason="torch is not installed")
    try:
        fidelity.import_fidelity()
    except ImportError as error:
        pytest.skip(f"torch-fidelity cannot be imported: {error}")
    shape, size = fidelity.CASES[name]
    expected = fidelity.reference(weights(), fidelity.pixels(shape), size)
    assert_close(our_result(name), expected)


@pytest.mark.usefixtures("no_shape_hook")
def test_the_input_is_resized_from_the_corner_and_scaled():
    images = jnp.array([[0.0, 128], [255, 64]])[None, :, :, None] * jnp.ones(3)[None, None, None]
    expected = np.array(
        [
            [0, 64, 128, 128],
            [127.5, 111.75, 96, 96],
            [255, 159.5, 64, 64],
            [255, 159.5, 64, 64],
        ]
    )
    actual = fid_input(images, 4)
    assert_close(actual[0, :, :, 1], (expected - 128) / 128, rtol=1e-6)
