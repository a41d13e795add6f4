"""Which pixels a score depends on: its gradient by the image, plain and guided."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn, Literal, jaxprs_in_params
from jaxtyping import Array, Float

from cnn_jax.visual.programs import replay, trace

Images = Float[Array, "batch height width channels"]
Score = Callable[[Images], Float[Array, " batch"]]


def saliency(score: Score, images: Images) -> Float[Array, "batch height width"]:
    """The largest absolute derivative of the score by a pixel's channels.

    Simonyan et al. 2014, "Deep Inside Convolutional Networks", section 3.1.

    Args:
        score: one number an image, which depends on that image alone.
        images: as the score takes them.
    """
    gradient = jax.grad(lambda images: jnp.sum(score(images)))(images)
    return jnp.max(jnp.abs(gradient), axis=-1)


def guided_backpropagation(score: Score, images: Images) -> Images:
    """The score's gradient by the images, where no ReLU passes on what is negative.

    On the way back a ReLU passes a gradient where its input was positive; guided, only where the
    gradient is positive, too: what is left is what speaks for the score, all the way up, and shows
    the edges that it comes from. (It is not the gradient any more, and largely independent of the
    class: Adebayo et al. 2018, "Sanity Checks for Saliency Maps".)

    Springenberg et al. 2015, "Striving for Simplicity: The All Convolutional Net", section 3.4.

    A ReLU is every max(x, 0) in the score's program, whoever wrote it; other activations, and the
    other branches of an elementwise function such as softplus, keep their derivatives.

    Args:
        score: one number an image, which depends on that image alone.
        images: as the score takes them.

    Raises:
        ValueError: a ReLU inside of a loop, a branch, or a function with a derivative of its own,
            where it cannot be told from outside.
    """
    program, _ = trace(score, images)

    def guided(images: Images) -> Array:
        (scores,) = replay(program, [images], _guided)
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
    # jax.nn.relu has a derivative of its own, and is nothing else inside.
    core = _only_equation(equation) if equation.primitive.name == "custom_jvp_call" else equation
    if core is not None and _is_relu(core):
        # Of a max, the operand that is not the zero.
        return [_guided_relu(next(x for x in inputs if np.ndim(x)))]
    if any(map(_contains_relu, jaxprs_in_params(equation.params))):
        raise ValueError(
            f"there is a ReLU inside of {equation.primitive.name}, whose gradient cannot be "
            "changed from outside; write the network without it"
        )
    return None


def _only_equation(equation: JaxprEqn) -> JaxprEqn | None:
    """The one equation that a function consists of, through calls of compiled functions."""
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
