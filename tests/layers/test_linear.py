import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.layers import Linear, relu
from tests.tolerance import assert_close


def test_value_is_x_kernel_plus_bias():
    generator = np.random.default_rng(0)
    x, kernel, bias = (generator.standard_normal(s) for s in ((2, 5, 3), (3, 4), (4,)))
    with jax.enable_x64(True):
        x, params = jnp.asarray(x), {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
        assert_close(
            Linear(4).apply({"params": params}, x), np.einsum("abi,io->abo", x, kernel) + bias
        )
        del params["bias"]
        y = Linear(4, use_bias=False).apply({"params": params}, x)
        assert_close(y, np.einsum("abi,io->abo", x, kernel))


def test_takes_pytorch_s_default_initialization():
    parameters = Linear(200).init(jax.random.key(0), jnp.zeros((1, 64)))["params"]
    assert parameters["kernel"].shape == (64, 200)
    for parameter in parameters.values():
        assert 0.9 / 8 < np.abs(parameter).max() <= 1 / 8
        assert abs(parameter.mean()) < 0.2 / 8


@pytest.mark.parametrize(("dtype", "expected"), [(None, jnp.float32), (jnp.bfloat16, jnp.bfloat16)])
def test_computes_in_its_dtype(dtype, expected):
    layer, x = Linear(2, dtype=dtype), jnp.ones((1, 3))
    variables = layer.init(jax.random.key(0), x)
    assert variables["params"]["kernel"].dtype == jnp.float32
    assert layer.apply(variables, x).dtype == expected


def test_relu_and_its_derivative():
    x = jnp.asarray([-2.0, 0.0, 3.0])
    np.testing.assert_array_equal(relu(x), [0, 0, 3])
    np.testing.assert_array_equal(jax.grad(lambda x: relu(x).sum())(x), [0, 0, 1])
