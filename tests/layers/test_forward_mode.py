"""Forward mode of all layers with a derivative of their own, and mixed with reverse mode."""

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn
from jax.test_util import check_grads

from cnn_jax import layers
from tests.layers.convolutions import draw_normal
from tests.tolerance import assert_close

EXACT = {"rtol": 1e-12, "atol": 1e-12}


class Network(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = layers.Conv(2, 3, padding=1, use_bias=False)(x)
        x = layers.BatchNorm()(x, train=True)
        x = layers.max_pool(jnp.tanh(x), 2)
        x = layers.ConvTranspose(2, 3, stride=2, padding=1, groups=2)(x)
        x = layers.max_pool(x, 3, 2, 1)
        return layers.Linear(2)(x.reshape(len(x), -1))


def network_loss():
    """The loss of a list of parameters, and the parameters."""
    (x,) = map(jnp.asarray, draw_normal(0, (3, 4, 4, 1)))
    variables = Network().init(jax.random.key(0), x)
    leaves, tree = jax.tree.flatten(variables["params"])
    parameters = [jnp.asarray(p) for p in draw_normal(1, *(leaf.shape for leaf in leaves))]

    def loss(parameters):
        changed = variables | {"params": jax.tree.unflatten(tree, parameters)}
        y, _ = Network().apply(changed, x, mutable=["batch_stats"])
        return jnp.sum(jnp.sin(y))

    return loss, parameters


def test_derivatives_of_a_network():
    with jax.enable_x64(True):
        loss, parameters = network_loss()
        gradient = jax.grad(loss)
        check_grads(jax.jit(loss), (parameters,), order=1, modes=["fwd", "rev"], eps=1e-6)
        assert_close(jax.jit(jax.jacfwd(loss))(parameters), jax.jit(gradient)(parameters), **EXACT)
        # Forward over reverse, and reverse over reverse.
        hessian = jax.jit(jax.hessian(loss))(parameters)
        assert_close(hessian, jax.jit(jax.jacrev(gradient))(parameters), **EXACT)


@pytest.mark.parametrize(
    "layer",
    [
        lambda x: layers.max_pool(x, 2),
        lambda x: layers.max_pool(x, 3, 2, 1, ceil_mode=True),
        lambda x: layers.max_pool_with_indices(x, 2)[0],
        lambda x: layers.max_unpool(x, jnp.arange(x.size).reshape(x.shape) % 30, (5, 6)),
        lambda x: layers.normalize_batch(x, x[0, 0, 0], x[0, 0, 1]),
    ],
)
def test_both_modes_of_one_layer(layer):
    (x,) = draw_normal(0, (2, 3, 4, 2))
    with jax.enable_x64(True):
        smooth = jax.jit(lambda x: jax.tree.map(jnp.sin, layer(x)))
        check_grads(smooth, (jnp.asarray(x),), order=2, modes=["fwd"], eps=1e-6)
        jacobians = jax.jit(lambda x: [j(smooth)(x) for j in (jax.jacfwd, jax.jacrev)])(x)
        assert_close(*jacobians, **EXACT)
