"""Compare the directories of two runs that should be equal to the bit."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import SingleDeviceSharding

from cnn_jax.durable import DIGEST
from cnn_jax.training import read_metrics


def differences(ours: Path, theirs: Path) -> list[str]:
    """A line for each difference of two runs, or studies: in files, rows, figures or arrays.

    Clocks, such as ``train_seconds``, are not compared, nor ``config.json``, which has the command.
    """
    kept, left = _files(ours), _files(theirs)
    lines = [f"{path}: in one directory only" for path in sorted(kept ^ left)]
    for path in sorted(kept & left):
        one, other = ours / path, theirs / path
        if path.name == "arrays":
            lines += [f"{path}: {name} differs" for name in _different(one, other)]
        elif path.name in ("summary.json", "summary.copy.json"):
            if _without_clock(one) != _without_clock(other):
                lines.append(f"{path} differs")
        elif path.suffix in (".csv", ".png") and one.read_bytes() != other.read_bytes():
            lines.append(f"{path} differs{_first_row(one, other)}")
    return lines


def count_arrays(run: Path) -> int:
    """The number of arrays in all checkpoints of a run."""
    return sum(len(_arrays(run / path)) for path in _files(run) if path.name == "arrays")


def _files(run: Path) -> set[Path]:
    """All files below a run, with a checkpoint's arrays as one, because Orbax draws their names."""
    paths = (path.relative_to(run) for path in run.rglob("*") if path.is_file())
    return {
        Path(*path.parts[: path.parts.index("arrays") + 1]) if "arrays" in path.parts else path
        for path in paths
    }


def _without_clock(path: Path) -> dict[str, Any]:
    summary = json.loads(path.read_text())
    return {name: summary[name] for name in summary.keys() - {"train_seconds", DIGEST}}


def _first_row(one: Path, other: Path) -> str:
    """Where two metrics.csv differ first."""
    if one.name != "metrics.csv":
        return ""
    rows = [read_metrics(path) for path in (one, other)]
    first = next((a["step"] for a, b in zip(*rows, strict=False) if a != b), "the end")
    return f": {len(rows[0])} and {len(rows[1])} rows, from step {first}"


def _different(one: Path, other: Path) -> list[str]:
    """Names of the arrays that differ, or that one checkpoint lacks."""
    ours, theirs = _arrays(one), _arrays(other)
    return sorted(n for n in ours.keys() | theirs.keys() if ours.get(n) != theirs.get(n))


def _arrays(arrays: Path) -> dict[str, tuple]:
    """Dtype, shape and bytes of each array of a checkpoint, by name."""
    device = ocp.ArrayRestoreArgs(sharding=SingleDeviceSharding(jax.local_devices()[0]))
    with ocp.PyTreeCheckpointer() as checkpointer:
        saved = checkpointer.metadata(arrays.resolve()).item_metadata.tree
        # Onto one device, also what a job of several processes has saved.
        args = ocp.args.PyTreeRestore(restore_args=jax.tree.map(lambda _: device, saved))
        tree = checkpointer.restore(arrays.resolve(), args=args)
    tree.pop("seconds", None)
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): _bits(leaf) for path, leaf in leaves}


def _bits(leaf: jax.Array) -> tuple:
    if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    array = np.asarray(leaf)
    return array.dtype.str, array.shape, array.tobytes()
