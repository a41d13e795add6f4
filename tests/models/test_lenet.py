import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.errors import ConfigError
from cnn_jax.models import LeNet, create_model
from tests.tolerance import assert_close


@pytest.fixture(scope="module")
def images():
    return jax.random.normal(jax.random.key(1), (3, 28, 28, 1))


@pytest.fixture(scope="module")
def variables(images):
    return jax.jit(LeNet().init)(jax.random.key(0), images)


@pytest.mark.parametrize(("size", "padding"), [(28, 2), (32, 0)])
def test_parameters(size, padding):
    model = create_model("lenet5", padding=padding)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, size, size, 1)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == 61_706
    paths = ["/".join(k.key for k in path) for path, _ in jax.tree.leaves_with_path(shapes)]
    assert sorted(model.torch_names().values()) == sorted(paths)


def test_features_are_the_maps_of_the_paper(images, variables):
    features = LeNet().apply(variables, images, method="features")
    assert [(name, value.shape[1:]) for name, value in features.items()] == [
        ("conv1", (28, 28, 6)),
        ("stage1", (14, 14, 6)),
        ("conv2", (10, 10, 16)),
        ("stage2", (5, 5, 16)),
    ]
    assert all(jnp.abs(value).max() <= 1 for value in features.values())


def test_padding_is_a_frame_of_zeros(images, variables):
    framed = jnp.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    expected = LeNet().apply(variables, images)
    assert_close(LeNet(padding=0).apply(variables, framed), expected, rtol=1e-6)


def test_equals_pytorch_s_own_layers():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from cnn_jax.pretrained import from_torch

    nn = torch.nn
    torch.manual_seed(0)
    reference = nn.ModuleDict(
        {
            "conv1": nn.Conv2d(1, 6, 5, padding=2),
            "conv2": nn.Conv2d(6, 16, 5),
            "fc1": nn.Linear(400, 120),
            "fc2": nn.Linear(120, 84),
            "fc3": nn.Linear(84, 10),
        }
    ).double()
    images = np.random.default_rng(0).standard_normal((2, 28, 28, 1))
    x = torch.tensor(images.transpose(0, 3, 1, 2))
    for name in ("conv1", "conv2"):
        x = nn.functional.avg_pool2d(torch.tanh(reference[name](x)), 2)
    x = torch.tanh(reference["fc1"](x.flatten(1)))
    expected = reference["fc3"](torch.tanh(reference["fc2"](x))).detach()
    with jax.enable_x64(True):
        variables = from_torch("lenet5", reference.state_dict())
        logits = LeNet().apply(variables, jnp.asarray(images))
    assert_close(logits, expected.numpy())


def test_the_network_of_pytorchs_tutorial():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from cnn_jax.pretrained import from_torch

    nn, relu, pool = torch.nn, torch.nn.functional.relu, torch.nn.functional.max_pool2d
    torch.manual_seed(0)
    layers = {"conv1": nn.Conv2d(3, 6, 5), "conv2": nn.Conv2d(6, 16, 5)}
    layers |= {"fc1": nn.Linear(400, 120), "fc2": nn.Linear(120, 84), "fc3": nn.Linear(84, 10)}
    reference = nn.ModuleDict(layers).double()
    images = np.random.default_rng(0).standard_normal((2, 32, 32, 3))
    x = torch.tensor(images.transpose(0, 3, 1, 2))
    for name in ("conv1", "conv2"):
        x = pool(relu(layers[name](x)), 2)
    expected = layers["fc3"](relu(layers["fc2"](relu(layers["fc1"](x.flatten(1))))))
    model = create_model("cifar_lenet5")
    assert model == LeNet(padding=0, activation="relu", pooling="max")
    with jax.enable_x64(True):
        variables = from_torch("cifar_lenet5", reference.state_dict())
        logits = model.apply(variables, jnp.asarray(images))
    assert_close(logits, expected.detach().numpy())
    # The paper's network takes the same weights and computes something else.
    with pytest.warns(UserWarning, match="used with tanh and average pooling.*'cifar_lenet5'"):
        from_torch(LeNet(padding=0), reference.state_dict(), (32, 32, 3))


@pytest.mark.usefixtures("no_shape_hook")
@pytest.mark.parametrize("attributes", [{"activation": "rolu"}, {"pooling": "min"}])
def test_unknown_parts_are_named(attributes):
    with pytest.raises(ConfigError, match=r"did you mean relu|must be one of 'average', 'max'"):
        create_model("lenet5", **attributes)


def test_bfloat16_leaves_parameters_and_logits_in_float32(images, variables):
    model = LeNet(dtype=jnp.bfloat16)
    own = jax.eval_shape(model.init, jax.random.key(0), images)
    kept = jax.tree.leaves((own, model.apply(variables, images)))
    assert {leaf.dtype for leaf in kept} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 1, 28, 28), r"looks like \[batch, channels, height, width\]; transpose"),
        ((1, 11, 28, 1), "11x28 pixels are too small .* at least 12x12"),
    ],
)
@pytest.mark.usefixtures("no_shape_hook")
def test_images_that_do_not_fit_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        LeNet().init(jax.random.key(0), jnp.zeros(shape))


def test_the_smallest_images_have_logits():
    images = jnp.zeros((1, 12, 12, 1))
    assert LeNet().init_with_output(jax.random.key(0), images)[0].shape == (1, 10)
