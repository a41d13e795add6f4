"""JAX primitives for operators whose derivatives JAX would compute slowly on a CPU.

`jax.custom_vjp` has no forward mode. A primitive works under every transformation: its derivative,
transpose and batching rules give other primitives, and its lowering says how each platform computes
it.
"""

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax._src.dispatch import prim_requires_devices_during_lowering
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array


def primitive(
    name: str, default: Callable[..., Array], cpu: Callable[..., Array] | None = None
) -> Primitive:
    """A primitive of two arrays: `bind(a, b, shape=shape, **parameters)`.

    The result has the given shape. Its dtype and mesh axes are those of b.

    Args:
        name: how the primitive appears in a jaxpr.
        default: computes it, with the arguments of `bind`.
        cpu: computes it on CPUs; None is `default`.
    """
    made = Primitive(name)

    @functools.cache
    def compiled(**parameters: Any) -> Callable[..., Array]:
        return jax.jit(partial(made.bind, **parameters))

    def evaluate(a: Array, b: Array, **parameters: Any) -> Array:
        # Under `jax.disable_jit` the compiled function would call itself.
        with jax.disable_jit(False):
            return compiled(**parameters)(a, b)

    def result(a: Any, b: Any, *, shape: tuple[Any, ...], **_: Any) -> Any:
        return b.update(shape=shape, weak_type=False)

    made.def_impl(evaluate)
    made.def_abstract_eval(result)
    mlir.register_lowering(made, mlir.lower_fun(default, multiple_results=False))
    if cpu is not None:
        mlir.register_lowering(made, mlir.lower_fun(cpu, multiple_results=False), platform="cpu")
        # What a CPU computes may be a call that is divided over devices (`custom_partitioning`),
        # which JAX looks for in jaxprs only, and not in lowerings.
        prim_requires_devices_during_lowering.add(made)
    return made


def transpose_each_other(one: Primitive, other: Primitive) -> None:
    """Declares two primitives of arrays (a, x) as linear in x and the transposes of each other.

    The derivative by a is zero. The first axis of all arrays is the batch.
    """
    for this, transposed in ((one, other), (other, one)):
        ad.defjvp(this, None, partial(_same_map, this))
        ad.primitive_transposes[this] = partial(_transpose, transposed)
        batching.primitive_batchers[this] = partial(_over_the_batch, this)


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
    arrays: tuple[Array, Array],
    axes: tuple[int | None, int | None],
    *,
    shape: tuple[Any, ...],
    **parameters: Any,
) -> tuple[Array, int]:
    """The batching rule: the new axis and the batch are one."""
    size = next(x.shape[axis] for x, axis in zip(arrays, axes, strict=True) if axis is not None)
    a, x = (
        lax.collapse(_with_axis_in_front(array, axis, size), 0, 2)
        for array, axis in zip(arrays, axes, strict=True)
    )
    together = this.bind(a, x, shape=(size * shape[0], *shape[1:]), **parameters)
    return together.reshape(size, *shape), 0


def _with_axis_in_front(x: Array, axis: int | None, size: int) -> Array:
    """Moves the batched axis to the front; an array without one is repeated `size` times."""
    if axis is None:
        return jnp.broadcast_to(x[None], (size, *x.shape))
    return jnp.moveaxis(x, axis, 0)
