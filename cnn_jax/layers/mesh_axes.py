"""Axes of a mesh that JAX's types name: those of `jax.shard_map`, and explicit ones.

JAX's own operators heed them by themselves; those with a gradient, a loop or a call of our own do
so by the functions here. Where types name no axes (under `jit` over a mesh with axes of the type
Auto, under `pmap`, on one device) they do nothing.
"""

from collections.abc import Callable

import jax
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array


def varying_like(x: Array, *others: Array) -> Array:
    """x, declared to vary over the mesh axes that it or any of the others varies over.

    It has an effect inside of `jax.shard_map` alone, where that checks such axes (check_vma). The
    gradient of what becomes varying is summed over the devices.
    """
    axes = frozenset().union(*map(_varying_axes, others))
    missing = axes - _varying_axes(x)
    return lax.pcast(x, tuple(sorted(missing)), to="varying") if missing else x


def varies(x: Array, axis_name: str | tuple[str, ...]) -> bool:
    """Whether x is known to vary over an axis, or several.

    Nothing is known outside of `jax.shard_map`, nor where its check_vma is False.
    """
    names = (axis_name,) if isinstance(axis_name, str) else axis_name
    return _varying_axes(x).issuperset(names)


def _varying_axes(x: Array) -> frozenset[str]:
    return jax.typeof(x).manual_axis_type.varying


def mapped_axes() -> tuple[str, ...]:
    """The axes over which the caller is mapped by `jax.pmap` or `jax.shard_map`; else ()."""
    return tuple(jax.sharding.get_abstract_mesh().manual_axes)


def partly_manual() -> bool:
    """Whether what is traced is inside of a `jax.shard_map` over some axes of the mesh only."""
    mesh = jax.sharding.get_abstract_mesh()
    return 0 < len(mesh.manual_axes) < len(mesh.axis_names)


def by_parts_of_batch(
    function: Callable[[Array, Array], Array], images: Array, kernel: Array
) -> Array:
    """function(images, kernel), by each device for its part of the batch.

    Over a mesh with axes of the type Explicit, as `jax.make_mesh` makes them. Images are divided by
    their first axis alone and over explicit axes alone, kernels not at all; what comes otherwise is
    gathered.
    """
    types = jax.typeof(images), jax.typeof(kernel)
    meshes = [*(of.sharding.mesh for of in types), jax.sharding.get_abstract_mesh()]
    mesh = next((mesh for mesh in meshes if mesh.explicit_axes), None)
    if mesh is None:
        return function(images, kernel)
    spec = types[0].sharding.spec
    divided, whole = P(spec[0] if spec else None), P()
    part = jax.shard_map(function, mesh=mesh, in_specs=(divided, whole), out_specs=divided)
    images = jax.reshard(images, NamedSharding(mesh, divided))
    return part(images, jax.reshard(kernel, NamedSharding(mesh, whole)))
