"""Evaluate the jaxpr of a function with some of its equations replaced.

This changes a value or a derivative inside a network without changing the network's code and
without global state. The result can be transformed by `jax.grad`, `jax.jit` and `jax.vmap`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal

Replace = Callable[[JaxprEqn, list[Any]], Sequence[Any] | None]


def trace(function: Callable[..., Any], *arguments: Any) -> tuple[ClosedJaxpr, Any]:
    """The jaxpr of a function and the tree of its output shapes.

    Calls under `jax.jit` are inlined, so every operation is an equation of this jaxpr, except the
    operations inside loops, branches and custom derivatives.
    """
    jaxpr, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    leaves = jax.tree.leaves(arguments)
    return jax.make_jaxpr(lambda *inputs: _inlined(jaxpr, inputs))(*leaves), shapes


def evaluate(jaxpr: ClosedJaxpr, inputs: Sequence[Any], replace: Replace) -> list[Any]:
    """The outputs of a jaxpr.

    Args:
        jaxpr: from `trace`.
        inputs: leaves of the arguments of the traced function.
        replace: returns the outputs of an equation for its inputs, or None to evaluate it as it is.
    """
    values = dict(zip(jaxpr.jaxpr.constvars, jaxpr.consts, strict=True))
    values |= dict(zip(jaxpr.jaxpr.invars, inputs, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.jaxpr.eqns:
        operands = [read(atom) for atom in equation.invars]
        outputs = replace(equation, operands)
        if outputs is None:
            outputs = bind(equation, operands)
        values |= dict(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.jaxpr.outvars]


def bind(equation: JaxprEqn, inputs: Sequence[Any]) -> Sequence[Any]:
    """The outputs of one equation."""
    parameters = equation.primitive.get_bind_params(equation.params)
    outputs = equation.primitive.bind(*inputs, **parameters)
    return outputs if equation.primitive.multiple_results else [outputs]


def _inlined(jaxpr: ClosedJaxpr, inputs: Sequence[Any]) -> list[Any]:
    def replace(equation: JaxprEqn, inputs: list[Any]) -> Sequence[Any] | None:
        if equation.primitive.name != "jit":
            return None
        return _inlined(equation.params["jaxpr"], inputs)

    return evaluate(jaxpr, inputs, replace)
