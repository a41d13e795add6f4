"""Elementwise activation functions with PyTorch's values and derivatives, also by name.

Values and derivatives are finite wherever the input is finite. Derivatives at a kink are PyTorch's
one-sided ones, and the branch that is not taken has no exponential of a large number.
"""

import difflib
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Shaped

from cnn_jax.errors import ConfigError
from cnn_jax.layers.arguments import as_float, wide

Activation = Callable[[Shaped[Array, "*shape"]], Float[Array, "*shape"]]

# Klambauer et al. 2017, equation 14: the fixed point of mean 0 and variance 1.
_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


def sigmoid(x: Shaped[Array, "*shape"]) -> Float[Array, "*shape"]:
    """1 / (1 + exp(-x)), the logistic function, as `torch.sigmoid`."""
    return jax.nn.sigmoid(as_float(x))


def tanh(x: Shaped[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Hyperbolic tangent, 2 sigmoid(2x) - 1, as `torch.tanh`."""
    return jnp.tanh(as_float(x))


def relu(x: Shaped[Array, "*shape"]) -> Float[Array, "*shape"]:
    """max(x, 0), elementwise; the derivative at 0 is 0, as PyTorch's."""
    return _relu(as_float(x))


@jax.custom_jvp
def _relu(x: Array) -> Array:
    # On CPUs, XLA's maximum ignores NaN in some programs.
    return jnp.where(x <= 0, 0, x)


@_relu.defjvp
def _relu_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    # By the output, which the next layer keeps too: then nothing else is kept for the gradient.
    y = _relu(*primals)
    return y, jnp.where(y > 0, *tangents, 0)


def leaky_relu(x: Shaped[Array, "*shape"], negative_slope: float = 0.01) -> Float[Array, "*shape"]:
    """max(x, 0) + negative_slope * min(x, 0), as `torch.nn.functional.leaky_relu`.

    The derivative at 0 is `negative_slope`. Source: Maas et al. 2013, section 2.
    """
    x = as_float(x)
    return jnp.where(x > 0, x, negative_slope * x)


def elu(x: Shaped[Array, "*shape"], alpha: float = 1.0) -> Float[Array, "*shape"]:
    """max(x, 0) + alpha * (exp(min(x, 0)) - 1), as `torch.nn.functional.elu`.

    The derivative at 0 is `alpha`. Source: Clevert et al. 2016, equation 15.
    """
    x = as_float(x)
    negative = x <= 0
    # exp of a large x would be infinite, and 0 * inf its share of the gradient.
    return jnp.where(negative, alpha * jnp.expm1(jnp.where(negative, x, 0)), x)


def selu(x: Shaped[Array, "*shape"]) -> Float[Array, "*shape"]:
    """1.0507 * elu(x, alpha=1.6733), as `torch.nn.functional.selu`.

    With weights of variance 1 / inputs, activations keep mean 0 and variance 1 through many layers.
    Source: Klambauer et al. 2017, equation 2.
    """
    return _SELU_SCALE * elu(x, _SELU_ALPHA)


def gelu(x: Shaped[Array, "*shape"], approximate: bool = False) -> Float[Array, "*shape"]:
    """P(Z <= x) * x for a standard normal Z, as `torch.nn.functional.gelu`.

    Source: Hendrycks and Gimpel 2016, section 2.

    Args:
        x: any shape.
        approximate: take 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x³))) instead, PyTorch's
            `approximate="tanh"`; up to 5e-4 off.
    """
    x = as_float(x)
    if not approximate:
        return _gelu(x)
    # x³ would be infinite in float16 from 41 on.
    return jax.nn.gelu(x.astype(wide(x)), approximate=True).astype(x.dtype)


# By erf, as in PyTorch: on CPUs it takes half the time of JAX's own gelu by erfc, whose more exact
# tail is below float32's 1e-7 here. With this derivative, the gradient keeps one array, not two.
@jax.custom_jvp
def _gelu(x: Array) -> Array:
    return (x * _normal_cdf(x)).astype(x.dtype)


@_gelu.defjvp
def _gelu_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (tangent,) = primals, tangents
    cdf = _normal_cdf(x)
    density = jnp.exp(-0.5 * jnp.square(x.astype(cdf.dtype))) / math.sqrt(2 * math.pi)
    derivative = (cdf + x * density).astype(x.dtype)
    return (x * cdf).astype(x.dtype), tangent * derivative


def _normal_cdf(x: Array) -> Array:
    """P(Z <= x), in float32 at least: 1 + erf(x) has no digits left in bfloat16."""
    return 0.5 * (1 + lax.erf(x.astype(wide(x)) * math.sqrt(0.5)))


def silu(x: Shaped[Array, "*shape"]) -> Float[Array, "*shape"]:
    """sigmoid(x) * x, also known as swish, as `torch.nn.functional.silu`.

    Source: Elfwing et al. 2018, equation 9; Ramachandran et al. 2017.
    """
    return jax.nn.silu(as_float(x))


def softplus(x: Shaped[Array, "*shape"]) -> Float[Array, "*shape"]:
    """log(1 + exp(x)), as `torch.nn.functional.softplus`.

    PyTorch takes x itself above 20, which differs by less than 3e-9.
    """
    return jax.nn.softplus(as_float(x))


_ACTIVATIONS: dict[str, Activation] = {
    "sigmoid": sigmoid,
    "tanh": tanh,
    "relu": relu,
    "leaky_relu": leaky_relu,
    "elu": elu,
    "selu": selu,
    "gelu": gelu,
    "silu": silu,
    "softplus": softplus,
}


def activation(name: str) -> Activation:
    """The activation function of that name, with its default parameters.

    Raises:
        ConfigError: if the name is unknown. The message suggests the nearest name and lists all.
    """
    if name not in _ACTIVATIONS:
        close = difflib.get_close_matches(name, _ACTIVATIONS, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ConfigError(f"unknown activation {name!r}; {hint}there are {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[name]


def list_activations() -> list[str]:
    """Names of all activation functions, the lecture's first."""
    return list(_ACTIVATIONS)
