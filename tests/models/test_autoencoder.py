import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models import Autoencoder, EncoderClassifier, create_model
from tests.references.weights import weights
from tests.tolerance import assert_close

SMALL = {"hidden": (7, 5), "code": 3, "image_shape": (4, 3, 1)}


def init(model, *shape):
    return jax.jit(model.init)(jax.random.key(0), jnp.zeros((2, *shape)))


def parameters(model, *shape):
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *shape)))["params"]
    return {name: sum(leaf.size for leaf in jax.tree.leaves(tree)) for name, tree in shapes.items()}


@pytest.fixture(scope="module")
def images():
    return jax.random.uniform(jax.random.key(1), (6, 4, 3, 1))


def test_parameters_of_hinton_and_salakhutdinov():
    """784-1000-500-250-30 and its mirror."""
    encoder = 785 * 1000 + 1001 * 500 + 501 * 250 + 251 * 30
    decoder = 31 * 250 + 251 * 500 + 501 * 1000 + 1001 * 784
    counts = parameters(create_model("autoencoder"), 28, 28, 1)
    assert counts == {"encoder": encoder, "decoder": decoder}
    assert sum(counts.values()) == 2_837_314


def test_a_tied_decoder_owns_biases_alone():
    counts = parameters(Autoencoder(tied=True), 28, 28, 1)
    assert counts == {"encoder": 1_418_280, "decoder": 250 + 500 + 1000 + 784}
    assert sum(counts.values()) == 1_420_814


@pytest.mark.parametrize("tied", [False, True])
def test_encoder_and_decoder_are_usable_alone(images, tied):
    model = Autoencoder(**SMALL, tied=tied)
    variables = init(model, 4, 3, 1)
    codes = model.apply(variables, images, method="encode")
    assert codes.shape == (6, 3)
    decoded = model.apply(variables, codes, method="decode")
    assert decoded.shape == images.shape
    assert_close(decoded, model.apply(variables, images), rtol=1e-6)
    features = model.apply(variables, images, method="features")
    assert list(features) == ["hidden1", "hidden2", "code"]
    np.testing.assert_array_equal(features["code"], codes)
    assert model.apply(variables, images[:0]).shape == (0, 4, 3, 1)


def test_code_and_output_are_linear(images):
    """So the code of 100 times the last hidden layer's output is 100 times as large."""
    model = Autoencoder(**SMALL, activation="sigmoid")
    variables = init(model, 4, 3, 1)
    params = variables["params"]
    features = model.apply(variables, images, method="features")
    layer = params["encoder"]["code"]
    expected = features["hidden2"] @ layer["kernel"] + layer["bias"][None]
    assert_close(features["code"], expected, rtol=1e-6)
    far = model.apply(variables, 1e4 * images - 5e3)
    assert np.all(np.isfinite(far))
    params["decoder"]["output"]["bias"] += 100.0
    assert np.all(model.apply({"params": params}, images) > 50)


LAYERS = {
    "encoder.hidden1": (7, 12),
    "encoder.hidden2": (5, 7),
    "encoder.code": (3, 5),
    "decoder.hidden2": (5, 3),
    "decoder.hidden1": (7, 5),
    "decoder.output": (12, 7),
}
STATE = weights(
    {f"{name}.weight": shape for name, shape in LAYERS.items()}
    | {f"{name}.bias": shape[:1] for name, shape in LAYERS.items()}
)
TIED = {
    "decoder.hidden2": "encoder.code",
    "decoder.hidden1": "encoder.hidden2",
    "decoder.output": "encoder.hidden1",
}


def tree(state, tied=False):
    """Our parameters of PyTorch's, kernels transposed; a tied decoder has none."""
    params = {"encoder": {}, "decoder": {}}
    for name in LAYERS:
        half, layer = name.split(".")
        params[half][layer] = {"bias": state[f"{name}.bias"]}
        if not (tied and half == "decoder"):
            params[half][layer]["kernel"] = state[f"{name}.weight"].T
    return params


def loss_and_gradients(model, params, images):
    def loss(params):
        outputs = model.apply({"params": params}, images)
        return jnp.sum(jnp.square(outputs - images)), outputs

    gradients, outputs = jax.jit(jax.grad(loss, has_aux=True))(params)
    return outputs, gradients


def of_numpy(images, tied):
    """Outputs and gradients of the squared error, by the chain rule written out."""
    kernels = {name: STATE[f"{name}.weight"].T for name in LAYERS}
    if tied:
        kernels |= {name: kernels[mirrored].T for name, mirrored in TIED.items()}
    linear = ("encoder.code", "decoder.output")
    inputs, slopes, x = {}, {}, np.asarray(images, np.float64).reshape(len(images), -1)
    flat = x
    for name, kernel in kernels.items():
        inputs[name] = x
        x = x @ kernel + STATE[f"{name}.bias"]
        x = x if name in linear else np.tanh(x)
        slopes[name] = 1.0 if name in linear else 1 - x**2
    outputs, delta, gradients = x, 2 * (x - flat), {}
    for name in reversed(kernels):
        delta = delta * slopes[name]
        gradients[f"{name}.weight"] = (inputs[name].T @ delta).T
        gradients[f"{name}.bias"] = delta.sum(0)
        delta = delta @ kernels[name].T
    if tied:
        for name, mirrored in TIED.items():
            gradients[f"{mirrored}.weight"] += gradients[f"{name}.weight"].T
    return outputs.reshape(images.shape), gradients


@pytest.mark.parametrize("tied", [False, True])
def test_equals_numpy(images, tied):
    outputs, gradients = of_numpy(images, tied)
    model = Autoencoder(**SMALL, activation="tanh", tied=tied)
    with jax.enable_x64(True):
        actual = loss_and_gradients(model, tree(STATE, tied), np.asarray(images, np.float64))
    assert_close(actual, (outputs, tree(gradients, tied)))


def test_equals_torch_sequential(images):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    layers, names = [torch.nn.Flatten()], {}
    for name, (outputs, inputs) in LAYERS.items():
        names[f"{len(layers)}"] = name
        layers.append(torch.nn.Linear(inputs, outputs))
        if name not in ("encoder.code", "decoder.output"):
            layers.append(torch.nn.SiLU())
    network = torch.nn.Sequential(*layers).double()

    def renamed(key):
        number, kind = key.split(".")
        return f"{names[number]}.{kind}"

    network.load_state_dict(
        {key: torch.tensor(STATE[renamed(key)]) for key in network.state_dict()}
    )
    x = torch.tensor(np.asarray(images, np.float64))
    outputs = network(x).reshape(x.shape)
    torch.sum((outputs - x) ** 2).backward()
    gradients = {renamed(key): value.grad.numpy() for key, value in network.named_parameters()}
    with jax.enable_x64(True):
        model = Autoencoder(**SMALL, activation="silu")
        actual = loss_and_gradients(model, tree(STATE), np.asarray(images, np.float64))
    assert_close(actual, (outputs.detach().numpy(), tree(gradients)))


def test_a_classifier_begins_as_the_trained_encoder(images):
    autoencoder = Autoencoder(**SMALL)
    trained = init(autoencoder, 4, 3, 1)["params"]
    model = EncoderClassifier(autoencoder, num_classes=4)
    params = init(model, 4, 3, 1)["params"]
    assert set(params) == {"body", "head"}
    shapes = jax.tree.map(jnp.shape, (params["body"], trained["encoder"]))
    assert shapes[0] == shapes[1]
    params["body"] = trained["encoder"]
    features = model.apply({"params": params}, images, method="features")
    codes = autoencoder.apply({"params": trained}, images, method="encode")
    assert_close(features["code"], codes, rtol=1e-6)
    logits = model.apply({"params": params}, images, train=True)
    head = params["head"]
    assert_close(logits, codes @ head["kernel"] + head["bias"][None], rtol=1e-6)


def test_bfloat16_leaves_parameters_and_images_in_float32(images):
    model = Autoencoder(**SMALL, tied=True, dtype=jnp.bfloat16)
    variables = init(model, 4, 3, 1)
    outputs = model.apply(variables, images)
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, outputs))} == {jnp.dtype("float32")}
    assert model.apply(variables, images, method="encode").dtype == jnp.bfloat16
    exact = Autoencoder(**SMALL, tied=True).apply(variables, images)
    assert_close(outputs, exact, rtol=0.05)


@pytest.mark.usefixtures("no_shape_hook")
def test_images_of_another_shape_are_refused():
    message = r"for images of shape \(28, 28, 1\), got a batch of shape \(2, 8, 8, 1\); set image"
    with pytest.raises(ValueError, match=message):
        Autoencoder().init(jax.random.key(0), jnp.zeros((2, 8, 8, 1)))
    with pytest.raises(ValueError, match="unknown activation 'logistic'"):
        Autoencoder(activation="logistic")
