"""The arrays of a checkpoint beside those that they should be."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from cnn_jax.durable import DamagedFile
from cnn_jax.errors import UserError


class CheckpointMismatch(UserError):
    """The arrays of a checkpoint differ from those it is restored into."""


def check_written(folder: Path, tree: PyTree) -> None:
    """Read arrays back and compare them with those that were written.

    Raises:
        DamagedFile: they differ, or cannot be read.
    """
    try:
        with ocp.PyTreeCheckpointer() as checkpointer:
            names = checkpointer.metadata(folder).item_metadata.tree
            numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), names)
            saved = checkpointer.restore(folder, args=ocp.args.PyTreeRestore(restore_args=numpy))
        there, wanted = _leaves(saved), _leaves(tree)
        differs = [name for name in wanted if _bytes(there[name]) != _bytes(wanted[name])]
    except Exception as error:  # Orbax and TensorStore have many
        raise DamagedFile(
            f"the first checkpoint, written to {folder}, cannot be read back: {error!r}; give "
            "another place with --workdir"
        ) from error
    if differs:
        raise DamagedFile(
            f"the first checkpoint, written to {folder}, is not as it was: {differs[0]} differs; "
            "give another place with --workdir"
        )


def _bytes(leaf: Any) -> bytes:
    typed = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if typed else leaf).tobytes()


def check_same(saved: PyTree, target: PyTree, path: Path) -> None:
    """Compare the arrays' names and shapes before anything is loaded."""
    there, wanted = _shapes(saved), _shapes(target)
    lines = [f"  missing     {name} {wanted[name]}" for name in sorted(wanted.keys() - there)]
    lines += [f"  unexpected  {name} {there[name]}" for name in sorted(there.keys() - wanted)]
    lines += [
        f"  shape       {name}: saved {there[name]}, wanted {wanted[name]}"
        for name in sorted(there.keys() & wanted)
        if there[name] != wanted[name]
    ]
    if lines:
        more = f"\n  … and {len(lines) - 20} more" if len(lines) > 20 else ""
        raise CheckpointMismatch(
            f"the checkpoint {path} belongs to another model or optimizer; nothing was loaded:\n"
            + "\n".join(lines[:20])
            + more
        )


def _shapes(tree: PyTree) -> dict[str, tuple[int, ...]]:
    """Shapes by name; the kind of a container (tuple, list, dataclass) is ignored."""
    return {name: _shape(leaf) for name, leaf in _leaves(tree).items()}


def _leaves(tree: PyTree) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(str(_entry(key)) for key in path): leaf for path, leaf in leaves}


def _shape(leaf: Any) -> tuple[int, ...]:
    """Shape of an array as it is stored; a random key is stored as its words."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.eval_shape(jax.random.key_data, leaf)
    return tuple(leaf.shape)


def _entry(key: Any) -> Any:
    for attribute in ("key", "idx", "name"):
        if hasattr(key, attribute):
            return getattr(key, attribute)
    return key
