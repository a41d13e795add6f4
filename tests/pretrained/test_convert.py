import jax
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict

from cnn_jax.errors import ConfigError
from cnn_jax.models import create_model, example_shape, list_models
from cnn_jax.pretrained import from_torch, to_torch
from tests.references.torchvision_models import import_torchvision
from tests.references.weights import weights

# One per family; all others run with --full.
FAST = ("cifar_resnet20", "resnet18", "lenet5", "cifar_vgg16", "googlenet", "densenet121")


@pytest.fixture(scope="module")
def model():
    return create_model("cifar_resnet20", shortcut="B")


@pytest.fixture
def state(model):
    """A state dict of the model's own shapes, in PyTorch's layout."""
    own = our_shapes(model, (32, 32, 3))
    return weights({name: torch_shape(own[path]) for name, path in model.torch_names().items()})


def our_shapes(model, shape):
    images = jax.ShapeDtypeStruct((1, *shape), np.float32)
    return flatten_dict(jax.eval_shape(model.init, jax.random.key(0), images), sep="/")


def torch_shape(array):
    order = (3, 2, 0, 1) if len(array.shape) == 4 else range(len(array.shape))[::-1]
    return tuple(array.shape[axis] for axis in order)


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


def test_half_precision_becomes_float32(model, state):
    halves = {name: value.astype(np.float16) for name, value in state.items()}
    kernel = from_torch(model, halves)["params"]["head"]["kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel, halves["fc.weight"].T.astype(np.float32))


def test_a_name_makes_the_model(state):
    assert "head" in from_torch("cifar_plain20", plain(state))["params"]


def plain(state):
    return {name: value for name, value in state.items() if "downsample" not in name}


def test_all_that_does_not_fit_is_in_one_message(model, state):
    del state["bn1.bias"], state["layer3.2.conv1.weight"]
    state["fc.weight"] = np.zeros((1000, 64))
    state["layer4.0.conv1.weight"] = np.zeros((3, 3))
    state["fc.bias"] = state["fc.bias"].astype(np.int8)
    with pytest.raises(ConfigError) as error:
        from_torch(model, state)
    for line in [
        "do not fit ResNet (5 of ",
        "missing: bn1.bias",
        "missing: layer3.2.conv1.weight",
        "unexpected: layer4.0.conv1.weight",
        "misshapen: fc.weight is (1000, 64), expected (10, 64)",
        "not floating point: fc.bias is int8",
    ]:
        assert line in str(error.value)


def test_renamed_missing_and_misshapen_are_all_named(model, state):
    state["layer1.0.conv_1.weight"] = state.pop("layer1.0.conv1.weight")
    del state["bn1.running_mean"]
    state["layer2.0.conv2.weight"] = np.zeros((32, 32, 1, 1))
    with pytest.raises(ConfigError) as error:
        from_torch(model, state)
    assert str(error.value).splitlines()[1:] == [
        "  missing: bn1.running_mean",
        "  missing: layer1.0.conv1.weight",
        "  misshapen: layer2.0.conv2.weight is (32, 32, 1, 1), expected (32, 32, 3, 3)",
        "  unexpected: layer1.0.conv_1.weight",
    ]


def test_a_long_list_is_cut(model, state):
    many = {name: value for name, value in state.items() if not name.startswith("layer")}
    with pytest.raises(ConfigError) as error:
        from_torch(model, many)
    first, *lines = str(error.value).splitlines()
    assert "(100 of 107 entries)" in first
    assert len(lines) == 21 and lines[-1] == "  and 80 more"


def test_names_that_all_differ_are_one_line(model, state):
    wrapped = {f"net.encoder.{name}": value for name, value in state.items()}
    with pytest.raises(ConfigError) as error:
        from_torch(model, wrapped)
    assert str(error.value) == (
        "none of the names in these weights is one of ResNet, but 107 of 107 are with the prefix "
        "'net.encoder.': set prefix='net.encoder.' (in a command: --prefix net.encoder.)"
    )
    assert from_torch(model, wrapped, prefix="net.encoder.").keys() == {"params", "batch_stats"}
    other = {"features.0.weight": np.ones(2), "features.0.bias": np.ones(2)}
    with pytest.raises(ConfigError) as error:
        from_torch(model, other)
    assert str(error.value) == (
        "none of the names in these weights is one of ResNet: they begin with 'features.', "
        "expected names such as 'conv1.weight'"
    )


def test_values_that_are_not_finite_are_named(model, state):
    state["bn1.running_var"][[2, 5]] = np.inf, np.nan
    with pytest.raises(ConfigError, match="not finite: bn1.running_var has 2 of 16 values"):
        from_torch(model, state)


def test_giants_are_refused_by_their_shape(model, state):
    torch = pytest.importorskip("torch")
    # One value in memory; as float32 it would be four tebibytes.
    state["fc.weight"] = torch.ones(1, dtype=torch.bfloat16).expand(10**6, 10**6)
    with pytest.raises(
        ConfigError, match=r"fc.weight is \(1000000, 1000000\), expected \(10, 64\)"
    ):
        from_torch(model, state)


def test_a_head_that_is_replaced_may_be_another(model, state):
    complete = from_torch(model, state)
    body = {name: value for name, value in state.items() if not name.startswith("fc.")}
    projection = {"fc.0.weight": np.ones((64, 64)), "fc.2.weight": np.ones((7, 64))}
    other_classes = {"fc.weight": np.ones((7, 64)), "fc.bias": np.ones(7)}
    for head in ({}, projection, other_classes):
        variables = from_torch(model, body | head, partial_head=True)
        assert variables["params"].keys() == {"body"}
        same = jax.tree.map(np.array_equal, variables["params"]["body"], complete["params"]["body"])
        assert jax.tree.all(same)
        with pytest.raises(ConfigError, match="fc"):
            from_torch(model, body | head)
    del body["bn1.bias"]
    with pytest.raises(ConfigError, match="missing: bn1.bias"):
        from_torch(model, body, partial_head=True)
    again = from_torch(model, state, partial_head=True)
    assert jax.tree.all(jax.tree.map(np.array_equal, again, complete))


def test_a_model_without_a_table_is_named():
    with pytest.raises(ConfigError, match="Dense has no table of PyTorch's names"):
        from_torch(nn.Dense(3), {})
    with pytest.raises(ConfigError, match="Dense has no table of PyTorch's names"):
        to_torch(nn.Dense(3), {})


def convertible():
    names = [name for name in list_models() if hasattr(create_model(name), "torch_names")]
    marks = {name: [] if name in FAST else [pytest.mark.full] for name in names}
    return [pytest.param(name, marks=marks[name]) for name in names]


@pytest.mark.parametrize("name", convertible())
def test_there_and_back_is_equal_to_the_bit(name):
    model, random = create_model(name), np.random.default_rng(0)
    own = our_shapes(model, example_shape(name))
    state = {
        key: random.standard_normal(torch_shape(own[path]), np.float32)
        for key, path in model.torch_names().items()
    }
    variables = from_torch(model, state, example_shape(name))
    converted = flatten_dict(variables, sep="/")
    # Every variable is in the table exactly once.
    assert {k: v.shape for k, v in converted.items()} == {k: v.shape for k, v in own.items()}
    back = to_torch(model, variables)
    counters = {key for key in back if key.endswith(".num_batches_tracked")}
    assert back.keys() - counters == state.keys()
    assert len(counters) == sum(key.endswith(".running_var") for key in state)
    for key, value in state.items():
        assert back[key].dtype == np.float32 and back[key].flags["C_CONTIGUOUS"]
        assert back[key].tobytes() == value.tobytes(), key


def test_auxiliary_classifiers_are_left_out_of_a_model_without_them():
    model = create_model("googlenet", num_classes=3, aux_logits=True)
    own = our_shapes(model, example_shape("googlenet"))
    random = np.random.default_rng(0)
    state = {
        name: random.standard_normal(torch_shape(own[path]), np.float32)
        for name, path in model.torch_names().items()
    }
    complete = flatten_dict(from_torch(model, state), sep="/")
    assert complete.keys() == own.keys()
    plain = create_model("googlenet", num_classes=3)
    without = flatten_dict(from_torch(plain, state), sep="/")
    assert without.keys() == our_shapes(plain, example_shape("googlenet")).keys()
    assert len(without) < len(complete)
    for path, value in without.items():
        np.testing.assert_array_equal(value, complete[path])
    state["aux3.fc2.bias"] = np.zeros(3)
    with pytest.raises(ConfigError, match="1 of .* entries.*\n  unexpected: aux3.fc2.bias"):
        from_torch(plain, state)


@pytest.mark.parametrize(
    "name, attributes", [("resnet18", {}), ("googlenet", {"aux_logits": True})]
)
def test_torchvision_takes_what_comes_back(name, attributes):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    try:
        torchvision = import_torchvision()
    except ImportError as error:
        pytest.skip(f"torchvision cannot be imported (set CNN_JAX_TORCHVISION_CPU?): {error}")
    # Its truncated normals take long to draw.
    quick = {"init_weights": False} if name == "googlenet" else {}
    theirs, other = (
        torchvision.models.get_model(name, num_classes=10, **attributes, **quick) for _ in range(2)
    )
    model = create_model(name, num_classes=10, **attributes)
    back = to_torch(model, from_torch(model, theirs.state_dict()))
    other.load_state_dict({key: torch.as_tensor(value) for key, value in back.items()}, strict=True)
    assert back.keys() == theirs.state_dict().keys()
    for key, value in theirs.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key


def test_back_is_what_pytorch_may_write_to(model, state):
    back = to_torch(model, from_torch(model, state))
    assert back["fc.weight"].flags["WRITEABLE"]
    assert back["bn1.num_batches_tracked"].dtype == np.int64
    assert back["bn1.num_batches_tracked"].shape == ()


def test_variables_of_another_model_are_named(model, state):
    variables = from_torch(model, state)
    del variables["params"]["head"]["bias"]
    variables["params"]["tail"] = {"kernel": np.zeros((2, 2))}
    with pytest.raises(ConfigError) as error:
        to_torch(model, variables)
    assert str(error.value).splitlines()[1:] == [
        "  missing: params/head/bias",
        "  unexpected: params/tail/kernel",
    ]
