"""Guided backpropagation: which pixels speak for a score."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn, Literal, jaxprs_in_params
from jaxtyping import Array

from cnn_jax.interpretability.jaxpr import evaluate, trace
from cnn_jax.interpretability.score import Images, Score


def guided_backpropagation(score: Score, images: Images) -> Images:
    """The gradient of the score with respect to the images, without negative gradients at ReLUs.

    The backward pass of a ReLU keeps a gradient where the input is positive. Guided
    backpropagation also requires that the gradient is positive. The result shows the edges that
    raise the score. It is not a gradient, and it hardly depends on the class: Adebayo et al. 2018,
    "Sanity Checks for Saliency Maps".

    Springenberg et al. 2015, "Striving for Simplicity: The All Convolutional Net", section 3.4.

    Every max(x, 0) in the jaxpr of the score counts as a ReLU. Other activations keep their
    derivatives.

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
    return jnp.maximum(x, 0)


def _forward(x: Array) -> tuple[Array, Array]:
    return jnp.maximum(x, 0), x > 0


def _backward(positive: Array, gradient: Array) -> tuple[Array]:
    return (jnp.where(positive & (gradient > 0), gradient, 0),)


_guided_relu.defvjp(_forward, _backward)


def _guided(equation: JaxprEqn, inputs: list[Any]) -> list[Any] | None:
    # jax.nn.relu is a custom derivative around one equation.
    core = _only_equation(equation) if equation.primitive.name == "custom_jvp_call" else equation
    if core is not None and _is_relu(core):
        # The other operand of the max is the zero.
        return [_guided_relu(next(x for x in inputs if np.ndim(x)))]
    if any(map(_contains_relu, jaxprs_in_params(equation.params))):
        raise ValueError(
            f"there is a ReLU inside {equation.primitive.name}, where its gradient cannot be "
            "replaced; write the network without it"
        )
    return None


def _only_equation(equation: JaxprEqn) -> JaxprEqn | None:
    """The only equation of a function, also inside nested calls; None if there are several."""
    while inner := list(jaxprs_in_params(equation.params)):
        if len(inner[0].eqns) != 1:
            return None
        equation = inner[0].eqns[0]
    return equation


def _is_relu(equation: JaxprEqn) -> bool:
    return equation.primitive.name == "max" and any(
        isinstance(atom, Literal) and np.ndim(atom.val) == 0 and atom.val == 0
        for atom in equation.invars
    )


def _contains_relu(jaxpr: Any) -> bool:
    return any(
        _is_relu(equation) or any(map(_contains_relu, jaxprs_in_params(equation.params)))
        for equation in jaxpr.eqns
    )
