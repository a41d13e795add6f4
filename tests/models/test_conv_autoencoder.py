import jax
import jax.numpy as jnp
import pytest

from cnn_jax.models import ConvAutoencoder, EncoderClassifier, create_model
from tests.references.records import assert_equals_record
from tests.references.small_models import (
    AUTOENCODER,
    AUTOENCODER_IMAGES,
    drawn_params,
    named,
    torch_conv_autoencoder,
)
from tests.tolerance import assert_close


@pytest.fixture(scope="module")
def images():
    return jax.random.uniform(jax.random.key(1), (3, 8, 12, 2))


def parameters(model, *shape):
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *shape)))["params"]
    return {name: sum(leaf.size for leaf in jax.tree.leaves(tree)) for name, tree in shapes.items()}


def test_parameters():
    """Kernels are 4x4; two convolutions take 28x28 pixels to 7x7."""
    pixels = 7 * 7 * 32
    encoder = (16 * 1 + 1) * 16 + (16 * 16 + 1) * 32 + (pixels + 1) * 30
    decoder = 31 * pixels + 16 * 32 * 16 + 16 + 16 * 16 * 1 + 1
    counts = parameters(create_model("conv_autoencoder"), 28, 28, 1)
    assert (
        counts == {"encoder": encoder, "decoder": decoder} == {"encoder": 55_566, "decoder": 57_073}
    )
    tied = parameters(ConvAutoencoder(tied=True), 28, 28, 1)
    assert tied == {"encoder": encoder, "decoder": pixels + 16 + 1}


@pytest.mark.parametrize("tied", [False, True])
def test_encoder_and_decoder_are_usable_alone(images, tied):
    model = ConvAutoencoder(**AUTOENCODER, tied=tied)
    variables = jax.jit(model.init)(jax.random.key(0), images)
    features = model.apply(variables, images, method="features")
    assert [(name, value.shape) for name, value in features.items()] == [
        ("stage1", (3, 4, 6, 3)),
        ("stage2", (3, 2, 3, 5)),
        ("code", (3, 4)),
    ]
    codes = model.apply(variables, images, method="encode")
    decoded = model.apply(variables, codes, method="decode")
    assert decoded.shape == images.shape
    assert_close(decoded, model.apply(variables, images), rtol=1e-6)


def test_a_tied_decoder_is_the_adjoint_of_the_encoder(images):
    """<encode(x), c> = <x, decode(c)>, with everything linear and without biases."""
    model = ConvAutoencoder(**{**AUTOENCODER, "widths": (3,)}, tied=True)
    with jax.enable_x64(True):
        params = model.init(jax.random.key(0), images)["params"]
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)
        for half in params.values():
            for layer in half.values():
                layer["bias"] = jnp.zeros_like(layer["bias"])
        # Where the activation is its own tangent: tanh of a millionth.
        x = 1e-6 * jnp.asarray(images, jnp.float64)
        codes = 1e-6 * jax.random.normal(jax.random.key(2), (3, 4), jnp.float64)
        forward = jnp.sum(model.apply({"params": params}, x, method="encode") * codes)
        backward = jnp.sum(x * model.apply({"params": params}, codes, method="decode"))
    assert_close(forward, backward, rtol=1e-9, atol=0)


def our_step(tied):
    """Outputs and gradients of the squared error, in float64."""
    model = ConvAutoencoder(**AUTOENCODER, tied=tied)
    with jax.enable_x64(True):
        x = jnp.asarray(AUTOENCODER_IMAGES)

        def loss(params):
            outputs = model.apply({"params": params}, x)
            return jnp.sum(jnp.square(outputs - x)), outputs

        params = jax.tree.map(jnp.asarray, drawn_params(model, x.shape[1:]))
        gradients, outputs = jax.jit(jax.grad(loss, has_aux=True))(params)
    return named(outputs, gradients)


@pytest.mark.parametrize("tied", [False, True])
def test_equals_the_record_of_pytorch(tied):
    assert_equals_record(f"conv_autoencoder_{'tied' if tied else 'own'}", our_step(tied))


@pytest.mark.parametrize("tied", [False, True])
def test_equals_pytorch_itself(tied):
    pytest.importorskip("torch", reason="torch is not installed")
    model = ConvAutoencoder(**AUTOENCODER, tied=tied)
    params = drawn_params(model, AUTOENCODER_IMAGES.shape[1:])
    assert_close(our_step(tied), torch_conv_autoencoder(params))


def test_a_classifier_has_the_encoder_as_its_body(images):
    autoencoder = ConvAutoencoder(**AUTOENCODER)
    trained = jax.jit(autoencoder.init)(jax.random.key(0), images)["params"]
    model = EncoderClassifier(autoencoder, num_classes=6)
    params = jax.jit(model.init)(jax.random.key(1), images)["params"]
    params["body"] = trained["encoder"]
    codes = autoencoder.apply({"params": trained}, images, method="encode")
    features = model.apply({"params": params}, images, method="features")
    assert_close(features["code"], codes, rtol=1e-6)
    assert model.apply({"params": params}, images).shape == (3, 6)


@pytest.mark.usefixtures("no_shape_hook")
def test_shapes_that_cannot_be_halved_are_refused():
    with pytest.raises(ValueError, match=r"multiples of 8, got image_shape=\(28, 28, 1\)"):
        ConvAutoencoder(widths=(4, 8, 16))
    with pytest.raises(ValueError, match="0 convolutions"):
        ConvAutoencoder(widths=())
