import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models import DCGANDiscriminator
from cnn_jax.tasks import (
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    real_gradient_penalty,
)
from tests.tolerance import assert_close

REAL, FAKE = np.array([-3.0, 0.5, 2.0]), np.array([1.5, -0.2, -4.0])


def log_sigmoid(x):
    return -np.log1p(np.exp(-x))


EXPECTED = {
    "minimax": (-log_sigmoid(REAL) - log_sigmoid(-FAKE), log_sigmoid(-FAKE)),
    "non_saturating": (-log_sigmoid(REAL) - log_sigmoid(-FAKE), -log_sigmoid(FAKE)),
    "least_squares": (((REAL - 1) ** 2 + FAKE**2) / 2, (FAKE - 1) ** 2 / 2),
    "hinge": (np.array([6.5, 1.3, 0.0]), -FAKE),
    "wasserstein": (FAKE - REAL, -FAKE),
}


@pytest.mark.parametrize("loss", EXPECTED)
def test_losses_are_the_published_ones(loss):
    with jax.enable_x64(True):
        real, fake = jnp.asarray(REAL), jnp.asarray(FAKE)
        of_discriminator, of_generator = EXPECTED[loss]
        assert_close(discriminator_loss(real, fake, loss), of_discriminator)
        assert_close(generator_loss(fake, loss), of_generator)


@pytest.mark.parametrize("loss", EXPECTED)
def test_extreme_logits_have_finite_losses_and_gradients(loss):
    logits = jnp.array([-1e4, 1e4])

    def both(real, fake):
        return jnp.sum(discriminator_loss(real, fake, loss)) + jnp.sum(generator_loss(fake, loss))

    value, gradients = jax.value_and_grad(both, (0, 1))(logits, logits)
    assert np.isfinite(value) and all(np.isfinite(g).all() for g in gradients)


@pytest.mark.usefixtures("no_shape_hook")
def test_an_unknown_loss():
    with pytest.raises(ValueError, match="loss must be one of 'minimax'.*got 'softmax'"):
        discriminator_loss(jnp.zeros(1), jnp.zeros(1), "softmax")


def draw():
    rng = np.random.default_rng(0)
    model = DCGANDiscriminator((8, 8, 2), 3, norm="none")
    real, fake = rng.normal(size=(2, 4, 8, 8, 2))
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.asarray(real))["params"]
    params = jax.tree.map(lambda leaf: jnp.asarray(0.3 * rng.normal(size=leaf.shape)), shapes)
    return model, params, jnp.asarray(real), jnp.asarray(fake), jnp.asarray(rng.uniform(size=4))


def penalty(kind, model, params, real, fake, share):
    def judge(images):
        return model.apply({"params": params}, images)

    if kind == "r1":
        return real_gradient_penalty(judge, real)
    return gradient_penalty(judge, real, fake, share)


@pytest.mark.parametrize("kind", ["gradient", "r1"])
def test_penalties_are_those_of_finite_differences(kind):
    step = 1e-6
    with jax.enable_x64(True):
        model, params, real, fake, share = draw()
        at = share[:, None, None, None] * real + (1 - share[:, None, None, None]) * fake
        at = np.array(real if kind == "r1" else at)
        judge = jax.jit(lambda images: model.apply({"params": params}, images))
        moved = [at.copy() for _ in range(2 * at[0].size)]
        for number in range(at[0].size):
            moved[2 * number].reshape(4, -1)[:, number] += step
            moved[2 * number + 1].reshape(4, -1)[:, number] -= step
        logits = np.asarray(judge(np.concatenate(moved))).reshape(-1, 2, 4)
        gradients = (logits[:, 0] - logits[:, 1]) / (2 * step)
        squares = np.square(gradients).sum(axis=0)
        expected = squares / 2 if kind == "r1" else (np.sqrt(squares) - 1) ** 2
        assert_close(penalty(kind, model, params, real, fake, share), expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["gradient", "r1"])
def test_gradients_of_penalties_are_pytorch_s(kind):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    with jax.enable_x64(True):
        model, params, real, fake, share = draw()
        by_params = jax.jit(
            jax.grad(lambda params: jnp.sum(penalty(kind, model, params, real, fake, share)))
        )(params)
        at = share[:, None, None, None] * real + (1 - share[:, None, None, None]) * fake
    at = torch.from_numpy(np.array(real if kind == "r1" else at)).permute(0, 3, 1, 2)
    at.requires_grad_(True)
    named = {
        "main.0": params["convs_0"],
        "main.2": params["head"],
    }
    tensors = {}
    for name, layer in named.items():
        kernel = np.array(layer["kernel"]).transpose(3, 2, 0, 1)
        tensors[name] = torch.from_numpy(kernel.copy()).requires_grad_(True)
        tensors[f"{name}.bias"] = torch.from_numpy(np.array(layer["bias"])).requires_grad_(True)
    conv = torch.nn.functional.conv2d
    x = conv(at, tensors["main.0"], tensors["main.0.bias"], stride=2, padding=1)
    x = torch.nn.functional.leaky_relu(x, 0.2)
    logits = conv(x, tensors["main.2"], tensors["main.2.bias"])
    (gradient,) = torch.autograd.grad(logits.sum(), at, create_graph=True)
    squares = gradient.square().sum((1, 2, 3))
    (squares.sum() / 2 if kind == "r1" else (squares.sqrt() - 1).square().sum()).backward()
    for name, layer in (("main.0", by_params["convs_0"]), ("main.2", by_params["head"])):
        assert_close(layer["kernel"], tensors[name].grad.permute(2, 3, 1, 0).numpy())


def test_a_gradient_of_zero_has_a_finite_penalty():
    def judge(images):
        return 0.0 * jnp.sum(images, axis=(1, 2, 3))

    images = jnp.ones((2, 2, 2, 1))
    value, gradient = jax.value_and_grad(
        lambda images: jnp.sum(gradient_penalty(judge, images, images, jnp.ones(2)))
    )(images)
    assert value == 2 and np.isfinite(gradient).all()
