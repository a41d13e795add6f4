"""How each part of a training state lies on the devices: one rule, by the part's path."""

from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import PyTree

AXIS = "data"
"""The axis of the mesh that the batch is divided over."""


def partition(path: tuple[Any, ...]) -> P:
    """The partition of an array of the state, or of what a step returns, by its path.

    The carried state lies as the batch does, divided by its first axis. Everything else is
    replicated.
    """
    names = {getattr(key, "key", getattr(key, "name", None)) for key in path}
    return P(AXIS) if "carry" in names else P()


def shardings(tree: PyTree, mesh: Mesh) -> PyTree:
    """The sharding of every array of a tree."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: NamedSharding(mesh, partition(path)), tree
    )
