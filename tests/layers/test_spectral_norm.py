from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from cnn_jax.layers import (
    Conv,
    ConvTranspose,
    Linear,
    SingularVectors,
    SpectralNorm,
    iterate_power,
    spectral_norm,
)
from tests.tolerance import assert_close

KINDS = {
    "Linear": (partial(Linear, 4), -1, (3, 5)),
    "Conv": (partial(Conv, 4, 3, padding=1), -1, (2, 5, 6, 3)),
    "ConvTranspose": (partial(ConvTranspose, 4, (3, 2), 2), -2, (2, 3, 4, 5)),
}


class Wrapped(nn.Module):
    """A layer with spectral normalization, whose parameters have the layer's name."""

    kind: str

    @nn.compact
    def __call__(self, x, *, train=False):
        layer, axis, _ = KINDS[self.kind]
        return SpectralNorm(layer(name="layer"), axis, name="norm")(x, train=train)


def start(kind):
    rng = np.random.default_rng(0)
    model = Wrapped(kind)
    x = jnp.asarray(rng.normal(size=KINDS[kind][2]))
    variables = jax.jit(model.init)(jax.random.key(0), x)
    drawn = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), variables)
    vectors = drawn["spectral_norm"]["norm"]
    unit = {name: vector / jnp.linalg.norm(vector) for name, vector in vectors.items()}
    return model, x, {"params": drawn["params"], "spectral_norm": {"norm": unit}}


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (3, 2, 5, 7)])
def test_the_norm_converges_to_the_largest_singular_value(shape):
    rng = np.random.default_rng(1)
    kernel = rng.normal(size=shape)
    values = np.linalg.svd(kernel.reshape(-1, shape[-1]), compute_uv=False)
    others = kernel.size // shape[-1]
    with jax.enable_x64(True):
        vectors = SingularVectors(jnp.ones(shape[-1]), jnp.asarray(rng.normal(size=others)))
        step = jax.jit(iterate_power)
        for _ in range(600):
            vectors = step(jnp.asarray(kernel), vectors)
        norm, gradient = jax.value_and_grad(spectral_norm)(jnp.asarray(kernel), vectors)
        assert_close(norm, values[0])
        # The derivative of a simple singular value.
        outer = np.outer(vectors.right, vectors.left).reshape(shape)
        assert_close(gradient, outer)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_layer_has_a_norm_of_about_one(kind):
    _, axis, shape = KINDS[kind]
    model = Wrapped(kind)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.ones(shape))
    assert variables["params"]["layer"].keys() == {"kernel", "bias"}
    kernel = np.moveaxis(variables["params"]["layer"]["kernel"], axis, 0)
    largest = np.linalg.svd(kernel.reshape(len(kernel), -1), compute_uv=False)[0]
    vectors = SingularVectors(**variables["spectral_norm"]["norm"])
    norm = spectral_norm(variables["params"]["layer"]["kernel"], vectors, axis)
    assert 0.95 * largest < norm <= 1.000001 * largest


@pytest.mark.parametrize("kind", KINDS)
def test_equals_pytorch(kind):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    with jax.enable_x64(True):
        model, x, variables = start(kind)

        def energy(params, state, train):
            variables = {"params": params, "spectral_norm": state}
            y, state = model.apply(variables, x, train=train, mutable=["spectral_norm"])
            return jnp.sum(jnp.sin(y)), (y, state["spectral_norm"])

        step = jax.jit(jax.grad(energy, has_aux=True), static_argnums=2)
        gradients, (y, state) = step(variables["params"], variables["spectral_norm"], True)
        _, (again, unchanged) = step(variables["params"], state, False)

        theirs, ours = torch_layer(torch, kind, variables)
        images = torch.from_numpy(np.array(x))
        images = images.permute(0, 3, 1, 2) if images.ndim == 4 else images
        expected = theirs(images)
        torch.sin(expected).sum().backward()
        power = theirs.parametrizations.weight[0]
        assert_close(y, ours(expected))
        assert_close(gradients["layer"]["bias"], theirs.bias.grad.numpy())
        gradient = theirs.parametrizations.weight.original.grad
        assert_close(gradients["layer"]["kernel"], ours.kernel(gradient))
        assert_close(state["norm"]["left"], power._u.numpy())
        assert_close(state["norm"]["right"], ours.right(power._v))
        assert_close(again, ours(theirs.eval()(images)))
        assert_close(unchanged, state)


def torch_layer(torch, kind, variables):
    """PyTorch's layer with our parameters and vectors, and what maps its arrays to ours."""
    from torch.nn.utils.parametrizations import spectral_norm as torch_spectral_norm

    shape = variables["params"]["layer"]["kernel"].shape
    made = {
        "Linear": lambda: torch.nn.Linear(shape[0], shape[1]),
        "Conv": lambda: torch.nn.Conv2d(shape[2], shape[3], shape[:2], padding=1),
        "ConvTranspose": lambda: torch.nn.ConvTranspose2d(shape[3], shape[2], shape[:2], 2),
    }[kind]()
    layer = torch_spectral_norm(made.double())
    dense = kind == "Linear"

    class Ours:
        def __call__(self, y):
            y = y.detach()
            return (y if dense else y.permute(0, 2, 3, 1)).numpy()

        def kernel(self, weight):
            return (weight.T if dense else weight.permute(2, 3, 1, 0)).numpy()

        def right(self, vector):
            # PyTorch's other axes: [in, height, width]; of a transposed kernel also [in, h, w].
            if dense:
                return vector.numpy()
            inputs = shape[2] if kind == "Conv" else shape[3]
            return vector.reshape(inputs, *shape[:2]).permute(1, 2, 0).flatten().numpy()

    kernel = torch.from_numpy(np.array(variables["params"]["layer"]["kernel"]))
    left, right = (np.array(variables["spectral_norm"]["norm"][n]) for n in ("left", "right"))
    if not dense:
        right = right.reshape(*shape[:2], -1).transpose(2, 0, 1).ravel()
    with torch.no_grad():
        weight = kernel.T if dense else kernel.permute(3, 2, 0, 1)
        layer.parametrizations.weight.original.copy_(weight)
        layer.bias.copy_(torch.from_numpy(np.array(variables["params"]["layer"]["bias"])))
        layer.parametrizations.weight[0]._u.copy_(torch.from_numpy(left.copy()))
        layer.parametrizations.weight[0]._v.copy_(torch.from_numpy(right.copy()))
    return layer, Ours()
