"""Checkpoints: written in the background; the latest and the best are kept.

A checkpoint holds the training state and the running sums of the metrics. It is committed by one
rename, so a kill during a save leaves the checkpoint before it. The metrics of an evaluation are
kept with it only if the evaluation was the best so far.
"""

import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from jax.sharding import SingleDeviceSharding
from jaxtyping import PyTree
from orbax.checkpoint.checkpoint_managers import (
    AnyPreservationPolicy,
    BestN,
    LatestN,
)

from cnn_jax.errors import UserError


class CheckpointMismatch(UserError):
    """The arrays of a checkpoint differ from those it is restored into."""


def check_path(directory: Path) -> None:
    """Raise UserError for a path below which checkpoints would be written without their arrays.

    Orbax searches its own files by patterns that begin with the path.
    """
    path = str(directory.resolve())
    if found := sorted(set("*?[]\\") & set(path)):
        raise UserError(
            f"no checkpoints can be kept in {path}: its name has {' and '.join(found)}, which "
            "Orbax reads as a pattern; choose a directory without any of * ? [ ] \\"
        )


class Checkpoints:
    r"""The checkpoints of one run, in one directory.

    Args:
        directory: created if it does not exist.
        best_metric: metric that selects the one checkpoint kept beside the latest two.
        higher_is_better: whether the best checkpoint has the highest metric or the lowest.

    Raises:
        UserError: a path with one of the characters * ? [ ] \, see `check_path`.
    """

    def __init__(self, directory: Path, *, best_metric: str, higher_is_better: bool = True) -> None:
        check_path(directory)
        self.directory, self._best_metric = directory.resolve(), best_metric
        self._higher_is_better = higher_is_better
        policy = AnyPreservationPolicy(
            [
                LatestN(2),
                BestN(
                    get_metric_fn=lambda metrics: metrics[best_metric],
                    n=1,
                    reverse=not higher_is_better,
                    keep_checkpoints_without_metrics=False,
                ),
            ]
        )
        self._manager = ocp.CheckpointManager(
            self.directory,
            # With it a fresh process can list what is saved before it loads anything.
            item_handlers=ocp.StandardCheckpointHandler(),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policy,
                # Without it no metrics are written, and a later process cannot find the best.
                best_fn=lambda metrics: metrics[best_metric],
                best_mode="max" if higher_is_better else "min",
                enable_async_checkpointing=True,
            ),
        )
        self._best_cost, self._best_step = self._best_saved()

    def steps(self) -> list[int]:
        """Steps of the committed checkpoints, in order."""
        return sorted(self._manager.all_steps())

    def latest_step(self) -> int | None:
        """Step of the latest committed checkpoint, or None."""
        return self._manager.latest_step()

    def best_step(self) -> int | None:
        """Step of the checkpoint with the best validation metric, or None.

        The earliest one of equally good ones; a metric that is not finite is never the best.
        """
        return self._best_step

    def is_best(self, metrics: dict[str, float]) -> bool:
        """Whether the metrics of an evaluation are better than those of every checkpoint."""
        return bool(self._cost(metrics) < self._best_cost)

    def _cost(self, metrics: dict[str, float]) -> float:
        """The best metric as a value of which less is better."""
        metric = metrics.get(self._best_metric, math.nan)
        if not math.isfinite(metric):
            return math.inf
        return -metric if self._higher_is_better else metric

    def _best_saved(self) -> tuple[float, int | None]:
        """The least cost of the checkpoints on disk, and the first step that has it."""
        best: tuple[float, int | None] = (math.inf, None)
        for step in self.steps():
            if (cost := self._cost(self._manager.metrics(step) or {})) < best[0]:
                best = (cost, step)
        return best

    def save(self, step: int, tree: PyTree, metrics: dict[str, float] | None = None) -> None:
        """Start saving a tree; training may continue and donate it at once.

        Args:
            step: of the tree.
            tree: arrays.
            metrics: of the validation split at this step, if it has been evaluated.
        """
        if metrics is not None and self.is_best(metrics):
            self._best_cost, self._best_step = self._cost(metrics), step
        else:
            metrics = None
        # A copy is saved, because the training step reuses the memory of its arguments.
        self._manager.save(
            step, args=ocp.args.StandardSave(_copy(tree)), metrics=metrics, force=True
        )

    def restore(self, step: int, target: PyTree) -> PyTree:
        """The tree saved at a step, with the shardings of ``target``.

        Raises:
            CheckpointMismatch: its names or shapes differ from those of ``target``.
        """
        saved = self._manager.item_metadata(step).tree
        _check_same(saved, target, self.directory / str(step))
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, target)
        return self._manager.restore(step, args=ocp.args.StandardRestore(abstract))

    def variables(self, step: int) -> dict[str, Any]:
        """The variables that an evaluation at this step used: `params` and the model state.

        They are restored onto one device; the rest of the checkpoint is not read.
        """
        saved = self._manager.item_metadata(step).tree["state"]
        parts = {name: saved.get(name) for name in ("params", "ema", "model_state")}
        target = {"state": {name: part for name, part in parts.items() if part}}
        device = ocp.ArrayRestoreArgs(sharding=SingleDeviceSharding(jax.local_devices()[0]))
        request = ocp.args.PyTreeRestore(
            target, restore_args=jax.tree.map(lambda _: device, target), partial_restore=True
        )
        folder = self.directory / str(step) / "default"
        state = ocp.PyTreeCheckpointer().restore(folder, args=request)["state"]
        # As in `evaluated_params`, the moving average may cover only some top-level parts.
        params = {**state["params"], **state.get("ema", {})}
        return {"params": params, **state.get("model_state", {})}

    def wait(self) -> None:
        """Wait until the last save is committed; raise its error if it failed."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait for the last save and release the background threads."""
        self._manager.close()


@jax.jit
def _copy(tree: PyTree) -> PyTree:
    return jax.tree.map(jnp.copy, tree)


def _check_same(saved: PyTree, target: PyTree, path: Path) -> None:
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
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(str(_entry(key)) for key in path): _shape(leaf) for path, leaf in leaves}


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
