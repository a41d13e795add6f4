"""Mesh axes that JAX tracks in types: those of `jax.shard_map`, and explicit axes.

JAX's own operators handle these axes by themselves. Operators with a primitive, a loop or a call of
our own use the functions in this file. Where types have no axes (under `jit` over a mesh with axes
of the type Auto, on one device) these functions do nothing.
"""

from collections.abc import Callable

import jax
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array


def varying_like(x: Array, *others: Array) -> Array:
    """x, cast to vary over all mesh axes that x or any of the others varies over.

    This has an effect only inside of `jax.shard_map` with check_vma. The gradient of an array that
    becomes varying is summed over the devices.
    """
    axes = frozenset().union(*map(_varying_axes, others))
    missing = axes - _varying_axes(x)
    return lax.pcast(x, tuple(sorted(missing)), to="varying") if missing else x


def _varying_axes(x: Array) -> frozenset[str]:
    return jax.typeof(x).manual_axis_type.varying


def mapped_axes() -> tuple[str, ...]:
    """The axes over which the caller is mapped by `jax.pmap` or `jax.shard_map`; else ()."""
    return tuple(jax.sharding.get_abstract_mesh().manual_axes)


def partly_manual() -> bool:
    """Whether the caller is in a `jax.shard_map` over some, but not all, axes of the mesh."""
    return 0 < len(mapped_axes()) < len(jax.sharding.get_abstract_mesh().axis_names)


def by_parts_of_batch(
    function: Callable[[Array, Array], Array], images: Array, kernel: Array
) -> Array:
    """function(images, kernel), where each device computes its part of the batch.

    This concerns meshes with axes of the type Explicit, as `jax.make_mesh` makes them. Images are
    divided along their first axis only, and over explicit axes only; kernels are not divided.
    Arrays that are divided in another way are gathered.
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
