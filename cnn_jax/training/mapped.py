"""Values of all devices, inside of a function that each device runs on its own part of the batch.

Under ``pmap`` and `jax.shard_map` a device sees its part alone. Under ``jit`` arrays are global
already, and these functions return their argument.
"""

import jax
from jax import lax
from jaxtyping import Array, Key, PyTree

from cnn_jax.layers.mesh_axes import mapped_axes


def sum_over_devices(tree: PyTree) -> PyTree:
    """The sum of all devices' trees."""
    axes = mapped_axes()
    return lax.psum(tree, axes) if axes else tree


def gather_over_devices(tree: PyTree) -> PyTree:
    """All devices' arrays, concatenated along their first axis in the order of the batch."""
    axes = mapped_axes()
    return lax.all_gather(tree, axes, tiled=True) if axes else tree


def part_of_device(tree: PyTree) -> PyTree:
    """This device's part of arrays that `gather_over_devices` returned."""
    axes = mapped_axes()
    if not axes:
        return tree

    def part(array: Array) -> Array:
        size = array.shape[0] // lax.axis_size(axes)
        return lax.dynamic_slice_in_dim(array, lax.axis_index(axes) * size, size)

    return jax.tree.map(part, tree)


def key_of_device(key: Key[Array, ""]) -> Key[Array, ""]:
    """A key of this device's own."""
    axes = mapped_axes()
    return jax.random.fold_in(key, lax.axis_index(axes)) if axes else key
