import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from cnn_jax.layers import activation, gelu, leaky_relu, list_activations, relu, tanh
from tests.tolerance import assert_close

INF, NAN = math.inf, math.nan
SCALE, LOWEST = 1.0507009873554805, -1.7580993408473766  # of selu
# Values and derivatives in float32 at -inf, -1e4, 0, 1e4 and inf. PyTorch's, but for gelu's value
# at inf, where PyTorch gives NaN.
EXTREMES = {
    "sigmoid": ([0, 0, 0.5, 1, 1], [0, 0, 0.25, 0, 0]),
    "tanh": ([-1, -1, 0, 1, 1], [0, 0, 1, 0, 0]),
    "relu": ([0, 0, 0, 1e4, INF], [0, 0, 0, 1, 1]),
    "leaky_relu": ([-INF, -100, 0, 1e4, INF], [0.01, 0.01, 0.01, 1, 1]),
    "elu": ([-1, -1, 0, 1e4, INF], [0, 0, 1, 1, 1]),
    "selu": ([LOWEST, LOWEST, 0, 1e4 * SCALE, INF], [0, 0, -LOWEST, SCALE, SCALE]),
    "gelu": ([NAN, 0, 0, 1e4, INF], [NAN, 0, 0.5, 1, NAN]),
    "silu": ([NAN, 0, 0, 1e4, INF], [NAN, 0, 0.5, 1, NAN]),
    "softplus": ([0, 0, math.log(2), 1e4, INF], [0, 0, 0.5, 1, 1]),
}


@pytest.mark.parametrize("name", list_activations())
def test_values_and_derivatives_at_extremes(name):
    x = jnp.asarray([-INF, -1e4, 0, 1e4, INF])
    values, derivatives = jax.vmap(jax.value_and_grad(activation(name)))(x)
    # One by one: 1e4 must not set the tolerance of the others.
    for ours, expected in zip((values, derivatives), EXTREMES[name], strict=True):
        for number in range(x.size):
            assert_close(ours[number], expected[number], rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("name", list_activations())
def test_nan_is_passed_on(name):
    y = activation(name)(jnp.asarray([NAN, 1.0]))
    np.testing.assert_array_equal(jnp.isnan(y), [True, False])


@pytest.mark.parametrize("name", list_activations())
def test_first_and_second_derivatives_equal_finite_differences(name):
    with jax.enable_x64(True):
        x = jnp.asarray([-3.0, -0.7, -0.1, 0.2, 1.3, 4.0])
        check_grads(jax.jit(activation(name)), (x,), order=2, modes=["fwd", "rev"], eps=1e-5)


@pytest.mark.parametrize("name", list_activations())
def test_keeps_shape_and_dtype(name):
    for shape in ((), (0, 3), (1, 2, 2, 3)):
        for dtype in (jnp.bfloat16, jnp.float32):
            y = jax.eval_shape(activation(name), jnp.ones(shape, dtype))
            assert (y.shape, y.dtype) == (shape, dtype)


@pytest.mark.parametrize(("dtype", "rounding"), [(jnp.bfloat16, 2**-8), (jnp.float32, 2**-23)])
def test_gelu_is_exact_to_the_rounding_of_its_dtype(dtype, rounding):
    x = jnp.linspace(-6, 6, 1001, dtype=dtype)
    both = jax.vmap(jax.value_and_grad(gelu))(x)
    with jax.enable_x64(True):
        exact = jax.vmap(jax.value_and_grad(gelu))(x.astype(jnp.float64))
    for ours, expected in zip(both, exact, strict=True):
        expected = np.asarray(expected)
        error = np.abs(np.asarray(ours, np.float64) - expected)
        # Of 1 + erf(x) float32 keeps so much absolutely.
        assert np.all(error <= rounding * np.abs(expected) + 1e-6)


def test_gelu_s_approximation_is_near():
    with jax.enable_x64(True):
        x = jnp.linspace(-6, 6, 1001)
        difference = float(jnp.max(jnp.abs(gelu(x) - gelu(x, approximate=True))))
    assert 1e-4 < difference < 5e-4


def test_parameters_change_the_slope():
    x = jnp.asarray([-2.0, 3.0])
    np.testing.assert_allclose(leaky_relu(x, 0.25), [-0.5, 3])


def test_activations_have_names():
    assert activation("relu") is relu
    assert activation("tanh") is tanh
    assert list_activations()[:5] == ["sigmoid", "tanh", "relu", "leaky_relu", "elu"]
    for name in list_activations():
        first, *others = inspect.signature(activation(name)).parameters.values()
        assert first.name == "x"
        assert all(p.default is not p.empty for p in others), f"{name} needs more than x"


def test_an_unknown_name_is_answered_by_the_nearest_and_all():
    with pytest.raises(ValueError, match=r"'leakyrelu'; did you mean leaky_relu\? there are sigm"):
        activation("leakyrelu")
    with pytest.raises(ValueError, match=r"activation 'x'; there are sigmoid, .*, softplus"):
        activation("x")
