"""How each part of a training state lies on the devices: one rule, by the part's path and shape."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import PyTree

AXIS = "data"
"""The axis of the mesh that the batch is divided over."""
SHARDED = {"params", "opt_state", "ema"}
"""Parts of the state that may be divided, so that each device keeps a piece of them."""
SMALL = 4096
"""Numbers of an array that is not worth dividing."""


def partition(path: tuple[Any, ...], shape: tuple[int, ...] = (), pieces: int = 1) -> P:
    """The partition of an array of the state, or of what a step returns.

    The carried state lies as the batch does, divided by its first axis. Parameters, their averages
    and the optimizer's state are divided into ``pieces``, each array along the largest axis that
    can be, unless it is small. Everything else is replicated.

    Args:
        path: of the array in its tree.
        shape: of the array.
        pieces: 1 replicates parameters and the like.
    """
    names = {getattr(key, "key", getattr(key, "name", None)) for key in path}
    if "carry" in names:
        return P(AXIS)
    axes = [axis for axis, size in enumerate(shape) if size % pieces == 0]
    if pieces > 1 and names & SHARDED and axes and math.prod(shape) >= SMALL:
        largest = max(axes, key=lambda axis: shape[axis])
        return P(*[None] * largest, AXIS)
    return P()


def shardings(tree: PyTree, mesh: Mesh, *, divided: bool = False) -> PyTree:
    """The sharding of every array of a tree.

    Args:
        tree: arrays with the paths of a state.
        mesh: the devices.
        divided: whether each device keeps a piece of the parameters and the like.
    """
    pieces = mesh.size if divided else 1
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: NamedSharding(mesh, partition(path, jnp.shape(leaf), pieces)), tree
    )
