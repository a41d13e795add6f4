"""The public ResNets for CIFAR: option A with zero channels half before and half after."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.errors import ConfigError
from cnn_jax.models import create_model
from cnn_jax.pretrained import from_torch, to_torch
from tests.references.weights import weights
from tests.tolerance import assert_close

torch = pytest.importorskip("torch", reason="torch is not installed")

from tests.references.cifar_resnet import CifarResNet  # noqa: E402

PUBLIC = Path(os.environ.get("TFDS_DATA_DIR") or "missing").parent / "weights"
FILES = {20: "resnet20-12fca82f", 32: "resnet32-d509ac18", 44: "resnet44-014dd654"} | {
    56: "resnet56-4bfd9763"
}
IMAGES = np.random.default_rng(0).standard_normal((2, 32, 32, 3))


def drawn(reference):
    """Random weights without the counters of batches."""
    shapes = {name: tuple(value.shape) for name, value in reference.state_dict().items()}
    state = weights({name: shape for name, shape in shapes.items() if shape})
    return {name: value.astype(np.float32) for name, value in state.items()}


def load(reference, state):
    tensors = {name: torch.tensor(value) for name, value in state.items()}
    counters = {"num_batches_tracked"}
    missing, unexpected = reference.load_state_dict(tensors, strict=False)
    assert {name.rpartition(".")[2] for name in missing} <= counters and not unexpected
    return reference.eval()


def theirs(reference, images, dtype):
    with torch.no_grad():
        x = torch.tensor(images.transpose(0, 3, 1, 2)).to(dtype)
        return reference.to(dtype)(x).numpy()


def ours(model, variables, images):
    return jax.jit(model.apply)(variables, jnp.asarray(images))


def assert_same_bits(actual, expected):
    actual = {name: a for name, a in actual.items() if not name.endswith("num_batches_tracked")}
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert actual[name].dtype == np.float32
        assert actual[name].tobytes() == np.asarray(value).tobytes(), name


def test_outputs_are_pytorchs_and_all_bits_come_back():
    reference = CifarResNet(20)
    state = drawn(reference)
    load(reference, state)
    model = create_model("cifar_resnet20")
    variables = from_torch(model, state)
    assert_same_bits(to_torch(model, variables, "pytorch_resnet_cifar10"), state)
    with jax.enable_x64(True):
        wide = {name: value.astype(np.float64) for name, value in state.items()}
        logits = ours(model, from_torch(model, wide), IMAGES)
    assert_close(logits, theirs(reference, IMAGES, torch.float64))


@pytest.mark.parametrize(
    "depth", [20, *(pytest.param(depth, marks=pytest.mark.full) for depth in (32, 44, 56))]
)
@pytest.mark.skipif(
    not PUBLIC.is_dir(), reason="needs the public weights beside the data sets of TFDS_DATA_DIR"
)
def test_the_public_files(depth):
    path = PUBLIC / f"{FILES[depth]}.th"
    loaded = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    state = {name.removeprefix("module."): value.numpy() for name, value in loaded.items()}
    reference = load(CifarResNet(depth), state)
    model = create_model(f"cifar_resnet{depth}")
    variables = from_torch(model, path)
    assert_same_bits(to_torch(model, variables, "pytorch_resnet_cifar10"), state)
    narrow = IMAGES.astype(np.float32)
    expected = theirs(reference, narrow, torch.float32)
    assert_close(ours(model, variables, narrow), expected, rtol=1e-4)
    with jax.enable_x64(True):
        wide = {name: value.astype(np.float64) for name, value in state.items()}
        logits = ours(model, from_torch(model, wide), IMAGES)
    assert_close(logits, theirs(reference, IMAGES, torch.float64))


def test_shortcuts_with_parameters_are_renamed_alone():
    model = create_model("cifar_resnet20", shortcut="B")
    images = jnp.zeros((1, 32, 32, 3))
    variables = jax.jit(model.init)(jax.random.key(0), images)
    named = to_torch(model, variables, "pytorch_resnet_cifar10")
    assert {"linear.bias", "layer2.0.shortcut.0.weight", "layer3.0.shortcut.1.running_var"} <= (
        named.keys()
    )
    assert not {name for name in named if name.startswith("fc") or "downsample" in name}
    back = from_torch(model, named)
    assert jax.tree.all(jax.tree.map(np.array_equal, dict(variables), back))


def test_a_layout_that_a_model_does_not_have():
    variables = jax.eval_shape(
        create_model("lenet5").init, jax.random.key(0), jnp.zeros((1, 28, 28, 1))
    )
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape), dict(variables))
    with pytest.raises(ConfigError, match="'pytorch_resnet_cifar10' is that of ResNets, got LeNet"):
        to_torch("lenet5", zeros, "pytorch_resnet_cifar10")
