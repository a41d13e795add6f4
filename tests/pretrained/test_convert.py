import jax
import numpy as np
import pytest
from flax import linen as nn

from cnn_jax.models import create_model
from cnn_jax.pretrained import from_torch
from tests.references.weights import weights


@pytest.fixture(scope="module")
def model():
    return create_model("cifar_resnet20", shortcut="B")


@pytest.fixture
def state(model):
    """A state dict of the model's own shapes, in PyTorch's layout."""
    variables = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
    shapes = {}
    for name, path in model.torch_names().items():
        leaf = variables
        for key in path.split("/"):
            leaf = leaf[key]
        order = (3, 2, 0, 1) if len(leaf.shape) == 4 else range(len(leaf.shape))[::-1]
        shapes[name] = tuple(leaf.shape[axis] for axis in order)
    return weights(shapes)


def test_every_entry_arrives_in_our_layout(model, state):
    state["bn1.num_batches_tracked"] = np.asarray(7)
    variables = from_torch(model, state)
    kernel = variables["params"]["body"]["stage2_block1"]["shortcut_conv"]["kernel"]
    assert kernel.dtype == np.float32
    expected = state["layer2.0.downsample.0.weight"].astype(np.float32)
    np.testing.assert_array_equal(kernel[0, 0, 3, 5], expected[5, 3, 0, 0])
    np.testing.assert_array_equal(
        variables["params"]["head"]["kernel"], state["fc.weight"].T.astype(np.float32)
    )
    np.testing.assert_array_equal(
        variables["batch_stats"]["body"]["stem_norm"]["var"],
        state["bn1.running_var"].astype(np.float32),
    )
    own = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
    assert jax.tree.map(lambda a: (a.shape, a.dtype), dict(own)) == jax.tree.map(
        lambda a: (a.shape, a.dtype), variables
    )


def test_float64_stays_where_it_is_enabled(model, state):
    with jax.enable_x64(True):
        kernel = from_torch(model, state)["params"]["body"]["stem_conv"]["kernel"]
    assert kernel.dtype == np.float64


def test_a_name_makes_the_model(state):
    assert "head" in from_torch("cifar_plain20", plain(state))["params"]


def plain(state):
    return {name: value for name, value in state.items() if "downsample" not in name}


def test_all_that_does_not_fit_is_in_one_message(model, state):
    del state["bn1.bias"], state["layer3.2.conv1.weight"]
    state["fc.weight"] = np.zeros((1000, 64))
    state["layer4.0.conv1.weight"] = np.zeros((3, 3))
    with pytest.raises(ValueError) as error:
        from_torch(model, state)
    for line in [
        "missing: bn1.bias",
        "missing: layer3.2.conv1.weight",
        "unexpected: layer4.0.conv1.weight",
        "misshapen: fc.weight is (1000, 64), expected (10, 64)",
    ]:
        assert line in str(error.value)


def test_a_model_without_a_table_is_named():
    with pytest.raises(TypeError, match="Dense holds no table of PyTorch's names"):
        from_torch(nn.Dense(3), {})
