"""Guided backpropagation: which pixels speak for a score."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn, Literal, jaxprs_in_params
from jaxtyping import Array

from cnn_jax.interpretability.jaxpr import evaluate, trace
from cnn_jax.interpretability.score import Images, Score

_OF_RELUS = {"max", "le", "select_n", "convert_element_type", "broadcast_in_dim"}
"""Operators of which a ReLU with a derivative of its own consists."""


def guided_backpropagation(score: Score, images: Images) -> Images:
    """The gradient of the score with respect to the images, without negative gradients at ReLUs.

    The backward pass of a ReLU keeps a gradient where the input is positive. Guided
    backpropagation also requires that the gradient is positive. The result shows the edges that
    raise the score. It is not a gradient, and it hardly depends on the class: Adebayo et al. 2018,
    "Sanity Checks for Saliency Maps".

    Springenberg et al. 2015, "Striving for Simplicity: The All Convolutional Net", section 3.4.

    `layers.relu`, `jax.nn.relu` and every max(x, 0) in the jaxpr of the score count as ReLUs. Other
    activations keep their derivatives.

    Args:
        score: function of the images that is explained.
        images: inputs of the score.

    Raises:
        ValueError: there is a ReLU inside a loop, a branch or a custom derivative.
    """
    jaxpr, _ = trace(score, images)

    def guided(images: Images) -> Array:
        (scores,) = evaluate(jaxpr, [images], _guided)
        return jnp.sum(scores)

    return jax.grad(guided)(images)


@jax.custom_vjp
def _guided_relu(x: Array) -> Array:
    return jnp.where(x <= 0, 0, x)


def _forward(x: Array) -> tuple[Array, Array]:
    return jnp.where(x <= 0, 0, x), x > 0


def _backward(positive: Array, gradient: Array) -> tuple[Array]:
    return (jnp.where(positive & (gradient > 0), gradient, 0),)


_guided_relu.defvjp(_forward, _backward)


def _guided(equation: JaxprEqn, inputs: list[Any]) -> list[Any] | None:
    if _is_relu(equation):
        # The other operand of a max is the zero.
        return [_guided_relu(next(x for x in inputs if np.ndim(x)))]
    if any(map(_contains_relu, jaxprs_in_params(equation.params))):
        raise ValueError(
            f"there is a ReLU inside {equation.primitive.name}, where its gradient cannot be "
            "replaced; write the network without it"
        )
    return None


def _is_relu(equation: JaxprEqn) -> bool:
    if equation.primitive.name == "custom_jvp_call":
        # `layers.relu` and `jax.nn.relu` have derivatives of their own.
        body = list(_operators(equation))
        compares = any(_with_zero(one, "max") or _with_zero(one, "le") for one in body)
        return compares and {one.primitive.name for one in body} <= _OF_RELUS
    return _with_zero(equation, "max")


def _with_zero(equation: JaxprEqn, name: str) -> bool:
    return equation.primitive.name == name and any(
        isinstance(atom, Literal) and np.ndim(atom.val) == 0 and atom.val == 0
        for atom in equation.invars
    )


def _operators(equation: JaxprEqn) -> Iterator[JaxprEqn]:
    """The equations inside of an equation, also in nested calls, without the calls themselves."""
    for jaxpr in jaxprs_in_params(equation.params):
        for inner in jaxpr.eqns:
            yield from _operators(inner) if inner.primitive.name == "jit" else (inner,)


def _contains_relu(jaxpr: Any) -> bool:
    return any(
        _is_relu(equation) or any(map(_contains_relu, jaxprs_in_params(equation.params)))
        for equation in jaxpr.eqns
    )
