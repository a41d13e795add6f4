"""JAX primitives, for operators whose derivatives JAX itself would compute slowly on a CPU.

`jax.custom_vjp` has no forward mode. A primitive works under every transformation: its derivative,
its transpose and its batching rule consist of primitives, and its lowering says how each platform
computes it.
"""

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array


def primitive(
    name: str, default: Callable[..., Array], cpu: Callable[..., Array] | None = None
) -> Primitive:
    """A primitive of arrays: `bind(*arrays, shape=shape, **parameters)`.

    The result has the given shape. Its dtype and mesh axes are those of the last array.

    Args:
        name: how the primitive appears in a jaxpr.
        default: computes it, with the arguments of `bind`.
        cpu: computes it on CPUs; None is `default`.
    """
    made = Primitive(name)

    @functools.cache
    def compiled(**parameters: Any) -> Callable[..., Array]:
        return jax.jit(partial(made.bind, **parameters))

    def evaluate(*arrays: Array, **parameters: Any) -> Array:
        # Under `jax.disable_jit` the compiled function would call itself.
        with jax.disable_jit(False):
            return compiled(**parameters)(*arrays)

    def result(*arrays: Any, shape: tuple[Any, ...], **_: Any) -> Any:
        return arrays[-1].update(shape=shape, weak_type=False)

    made.def_impl(evaluate)
    made.def_abstract_eval(result)
    mlir.register_lowering(made, mlir.lower_fun(default, multiple_results=False))
    if cpu is not None:
        mlir.register_lowering(made, mlir.lower_fun(cpu, multiple_results=False), platform="cpu")
    return made


def transpose_each_other(one: Primitive, other: Primitive) -> None:
    """Declares two primitives of arrays (a, x) as linear in x and the transposes of each other.

    The derivative by a is zero. The first axis of all arrays is the batch.
    """
    for this, transposed in ((one, other), (other, one)):
        ad.defjvp(this, None, partial(_same_map, this))
        ad.primitive_transposes[this] = partial(_transpose, transposed)
        batch_comes_first(this)


def batch_comes_first(one: Primitive) -> None:
    """Declares that the first axis of all arrays of a primitive is the batch."""
    batching.primitive_batchers[one] = partial(_over_the_batch, one)


def _same_map(this: Primitive, tangent: Array, a: Array, x: Array, **parameters: Any) -> Array:
    return this.bind(a, tangent, **parameters)


def _transpose(
    transposed: Primitive, cotangent: Any, a: Array, x: Any, **parameters: Any
) -> tuple[None, Any]:
    if isinstance(cotangent, ad.Zero):
        return None, ad.Zero(x.aval)
    return None, transposed.bind(a, cotangent, **parameters | {"shape": x.aval.shape})


def _over_the_batch(
    this: Primitive,
    arrays: tuple[Array, ...],
    axes: tuple[int | None, ...],
    *,
    shape: tuple[Any, ...],
    **parameters: Any,
) -> tuple[Array, int]:
    """The batching rule: the new axis is merged into the batch."""
    size = next(x.shape[axis] for x, axis in zip(arrays, axes, strict=True) if axis is not None)
    moved = (
        jnp.broadcast_to(array[None], (size, *array.shape))
        if axis is None
        else jnp.moveaxis(array, axis, 0)
        for array, axis in zip(arrays, axes, strict=True)
    )
    together = (size * shape[0], *shape[1:])
    made = this.bind(*(fold(array, 0) for array in moved), shape=together, **parameters)
    return unfold(made, size, shape, 0), 0


def fold(x: Array, axis: int, parts: int = 1) -> Array:
    """Merges the first axis of x into another one, between its `parts` parts and their elements.

    Args:
        x: array of shape (size, *shape).
        axis: place of the other axis in `shape`.
        parts: number of parts of equal size into which the other axis is split.
    """
    size, *shape = x.shape
    before, after = shape[:axis], shape[axis + 1 :]
    split = x.reshape(size, *before, parts, shape[axis] // parts, *after)
    return jnp.moveaxis(split, 0, axis + 1).reshape(*before, size * shape[axis], *after)


def unfold(x: Array, size: int, shape: tuple[Any, ...], axis: int, parts: int = 1) -> Array:
    """The inverse of `fold`; the result has the shape (size, *shape)."""
    before, after = shape[:axis], shape[axis + 1 :]
    split = x.reshape(*before, parts, size, shape[axis] // parts, *after)
    return jnp.moveaxis(split, axis + 1, 0).reshape(size, *shape)
