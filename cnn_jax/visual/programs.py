"""The program that JAX traces of a function, carried out anew with some of its steps changed.

So a derivative inside of a network, or a rule of it, is changed without the network's knowing: the
architectures stay as they are, nothing global is switched, and all of `jax.grad`, `jax.jit` and
`jax.vmap` works with what comes out.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, JaxprEqn, Literal

Replace = Callable[[JaxprEqn, list[Any]], Sequence[Any] | None]


def trace(function: Callable[..., Any], *arguments: Any) -> tuple[ClosedJaxpr, Any]:
    """The program of a function, and its output's tree of shapes.

    Functions under `jax.jit` that it calls are written out, so that every step of it is one
    equation of the program: only those inside of loops, branches and custom derivatives are not.
    """
    program, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    leaves = jax.tree.leaves(arguments)
    return jax.make_jaxpr(lambda *inputs: _written_out(program, inputs))(*leaves), shapes


def replay(program: ClosedJaxpr, inputs: Sequence[Any], replace: Replace) -> list[Any]:
    """The outputs of a program.

    Args:
        program: of `trace`.
        inputs: the leaves of the traced function's arguments.
        replace: of an equation and its inputs: its outputs, or None where they are to be its own.
    """
    values = dict(zip(program.jaxpr.constvars, program.consts, strict=True))
    values |= dict(zip(program.jaxpr.invars, inputs, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    for equation in program.jaxpr.eqns:
        read_in = [read(atom) for atom in equation.invars]
        outputs = replace(equation, read_in)
        if outputs is None:
            outputs = evaluate(equation, read_in)
        values |= dict(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in program.jaxpr.outvars]


def evaluate(equation: JaxprEqn, inputs: Sequence[Any]) -> Sequence[Any]:
    """The outputs of one equation."""
    parameters = equation.primitive.get_bind_params(equation.params)
    outputs = equation.primitive.bind(*inputs, **parameters)
    return outputs if equation.primitive.multiple_results else [outputs]


def _written_out(program: ClosedJaxpr, inputs: Sequence[Any]) -> list[Any]:
    def replace(equation: JaxprEqn, inputs: list[Any]) -> Sequence[Any] | None:
        if equation.primitive.name != "jit":
            return None
        return _written_out(equation.params["jaxpr"], inputs)

    return replay(program, inputs, replace)
