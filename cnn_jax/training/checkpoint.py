"""Checkpoints: written in the background; the latest and the best are kept.

A checkpoint is a directory named by its step:

    arrays/           the training state and the running sums, as Orbax writes them
    evaluation.json   metrics of the evaluation, if it was the best so far
    …                 texts that are saved with them, such as metrics.csv
    manifest.json     digests of all of these files, synced to disk and written last

It gets its name, by a rename, after its manifest is written. A kill or a crash during a save leaves
the checkpoint before it, and a directory that is not as its manifest says is damaged.
"""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jax.sharding import SingleDeviceSharding
from jaxtyping import PyTree

from cnn_jax.durable import DamagedFile, set_aside, sync, write_text
from cnn_jax.errors import UserError
from cnn_jax.training.distributed import is_primary
from cnn_jax.training.manifest import check_manifest, read_listed, write_manifest
from cnn_jax.training.saved_arrays import check_same, check_written

LATEST = 2
"""Checkpoints that are kept beside the best one."""


def check_path(directory: Path) -> None:
    """Raise UserError for a path below which checkpoints would be written without their arrays.

    Orbax searches its own files by patterns that begin with the path, and TensorStore takes UTF-8.
    """
    path = str(directory.resolve())
    if found := sorted(set("*?[]\\") & set(path)):
        raise UserError(
            f"no checkpoints can be kept or read in {path}: its name has {' and '.join(found)}, "
            "which Orbax reads as a pattern; choose a directory without any of * ? [ ] \\"
        )
    try:
        path.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"no checkpoints can be kept or read in {path!r}: its name is not UTF-8; choose another"
        ) from None


class Checkpoints:
    r"""The checkpoints of one run, in one directory. Only `mend` and `save` change it.

    Args:
        directory: created by the first save.
        best_metric: metric that selects the one checkpoint kept beside the latest two.
        higher_is_better: whether the best checkpoint has the highest metric or the lowest.

    Raises:
        UserError: a path with one of the characters * ? [ ] \, or that is not UTF-8.
    """

    def __init__(self, directory: Path, *, best_metric: str, higher_is_better: bool = True) -> None:
        check_path(directory)
        self.directory, self._best_metric = directory.resolve(), best_metric
        self._higher_is_better = higher_is_better
        self._checkpointer = ocp.AsyncCheckpointer(ocp.StandardCheckpointHandler())
        self._thread = ThreadPoolExecutor(1, "commit")
        self._committing: Future[None] | None = None
        self._best_cost, self._best_step = self._best_saved()

    def steps(self) -> list[int]:
        """Steps of the checkpoints on disk, damaged ones among them, in order."""
        if not self.directory.exists():
            return []
        try:
            names = [path.name for path in self.directory.iterdir()]
        except OSError as error:
            raise DamagedFile(f"cannot read {self.directory}: {error.strerror}") from None
        return sorted(int(name) for name in names if name.isascii() and name.isdecimal())

    def latest_step(self) -> int | None:
        """Step of the latest checkpoint, or None."""
        return max(self.steps(), default=None)

    def best_step(self) -> int | None:
        """Step of the checkpoint with the best validation metric, or None.

        The earliest one of equally good ones; a metric that is not finite is never the best.
        """
        return self._best_step

    def is_best(self, metrics: Mapping[str, float]) -> bool:
        """Whether the metrics of an evaluation are better than those of every checkpoint."""
        return bool(self._cost(metrics) < self._best_cost)

    def damage(self, step: int) -> str:
        """What is wrong with the files of a checkpoint; "" if it is whole."""
        try:
            check_manifest(self.directory / str(step))
        except DamagedFile as damage:
            return str(damage)
        return ""

    def mend(self) -> list[str]:
        """Set damaged checkpoints aside, and remove what a kill left behind.

        All processes of a job call it, and the primary one does it.

        Returns:
            A line for each damaged checkpoint, in the primary process.

        Raises:
            DamagedFile: there are checkpoints and none is whole; nothing was changed.
        """
        damaged = {step: damage for step in self.steps() if (damage := self.damage(step))}
        whole = [step for step in self.steps() if step not in damaged]
        if damaged and not whole:
            listed = "\n".join(f"  step {step}: {damage}" for step, damage in damaged.items())
            raise DamagedFile(
                f"no checkpoint in {self.directory} is whole:\n{listed}\nPut back a copy of one, "
                "or train anew with --overwrite or another --name"
            )
        self._meet("checked")
        lines = self._clear(damaged, whole) if is_primary() else []
        self._meet("mended")
        self._best_cost, self._best_step = self._best_saved()
        return lines

    def _clear(self, damaged: Mapping[int, str], whole: Sequence[int]) -> list[str]:
        lines = []
        for step, damage in damaged.items():
            place = set_aside(self.directory / str(step))
            lines.append(
                f"the checkpoint of step {step:,} is damaged and was renamed to {place.name} "
                f"({damage}); "
                + (
                    f"the steps after {whole[-1]:,} are repeated"
                    if step > whole[-1]
                    else "the run goes on from a later one, but the best weights so far may be lost"
                )
            )
        _, self._best_step = self._best_saved()
        self._remove_old()
        for left in (*self.directory.glob("*.unfinished"), *self.directory.glob("*.removed")):
            shutil.rmtree(left)
        return lines

    def _cost(self, metrics: Mapping[str, float]) -> float:
        """The best metric as a value of which less is better."""
        metric = metrics.get(self._best_metric, math.nan)
        if not math.isfinite(metric):
            return math.inf
        return -metric if self._higher_is_better else metric

    def _best_saved(self) -> tuple[float, int | None]:
        """The least cost of the checkpoints on disk, and the first step that has it."""
        best: tuple[float, int | None] = (math.inf, None)
        for step in self.steps():
            try:
                evaluation = self.read(step, "evaluation.json")
            except DamagedFile:
                continue
            if evaluation and (cost := self._cost(json.loads(evaluation))) < best[0]:
                best = (cost, step)
        return best

    def save(
        self,
        step: int,
        tree: PyTree,
        metrics: dict[str, float] | None = None,
        texts: Mapping[str, str] | None = None,
    ) -> None:
        """Start saving a tree; training may continue and donate it at once.

        Args:
            step: of the tree.
            tree: arrays.
            metrics: of the validation split at this step, if it has been evaluated.
            texts: files that are saved with it, by name.

        Raises:
            Exception: that of the save before.
        """
        self._finish()
        texts = dict(texts or {})
        if metrics is not None and self.is_best(metrics):
            self._best_cost, self._best_step = self._cost(metrics), step
            texts["evaluation.json"] = json.dumps(metrics)
        folder = self.directory / f"{step}.unfinished"
        if is_primary():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        first = self.latest_step() is None
        # A copy is saved, because the training step reuses the memory of its arguments.
        copy = _copy(tree)
        self._checkpointer.save(folder / "arrays", args=ocp.args.StandardSave(copy))
        self._committing = self._thread.submit(
            self._commit, step, texts, copy if first and jax.process_count() == 1 else None
        )

    def _commit(self, step: int, texts: Mapping[str, str], verified: PyTree | None) -> None:
        """Wait for the arrays, write the manifest and give the directory its name."""
        self._checkpointer.wait_until_finished()
        if not is_primary():
            return
        folder, target = self.directory / f"{step}.unfinished", self.directory / str(step)
        if verified is not None:
            check_written(folder / "arrays", verified)
        for name, text in texts.items():
            write_text(folder / name, text)
        write_manifest(folder)
        if target.exists():
            self._remove(step)
        folder.rename(target)
        for parent in (self.directory, self.directory.parent):
            sync(parent)
        self._remove_old()

    def _remove_old(self) -> None:
        """Remove what is neither among the latest nor the best."""
        for step in self.steps()[:-LATEST]:
            if step != self._best_step:
                self._remove(step)

    def _remove(self, step: int) -> None:
        # A kill in the middle leaves no half of a checkpoint under its name.
        removed = self.directory / f"{step}.removed"
        (self.directory / str(step)).rename(removed)
        shutil.rmtree(removed)

    def read(self, step: int, name: str) -> str | None:
        """A text that was saved with a checkpoint, or None.

        Raises:
            DamagedFile: it has changed since.
        """
        return read_listed(self.directory / str(step), name)

    def restore(self, step: int, target: PyTree) -> PyTree:
        """The tree saved at a step, with the shardings of ``target``.

        Raises:
            DamagedFile: its files have changed since they were written.
            CheckpointMismatch: its names or shapes differ from those of ``target``.
        """
        folder = self._whole(step)
        saved = self._checkpointer.metadata(folder).item_metadata.tree
        check_same(saved, target, folder.parent)
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, target)
        return self._checkpointer.restore(folder, args=ocp.args.StandardRestore(abstract))

    def variables(self, step: int) -> dict[str, Any]:
        """The variables that an evaluation at this step used: `params` and the model state.

        They are restored onto one device; the rest of the checkpoint is not read.

        Raises:
            DamagedFile: its files have changed since they were written.
        """
        folder = self._whole(step)
        saved = self._checkpointer.metadata(folder).item_metadata.tree["state"]
        parts = {name: saved.get(name) for name in ("params", "ema", "model_state")}
        target = {"state": {name: part for name, part in parts.items() if part}}
        device = ocp.ArrayRestoreArgs(sharding=SingleDeviceSharding(jax.local_devices()[0]))
        request = ocp.args.PyTreeRestore(
            target, restore_args=jax.tree.map(lambda _: device, target), partial_restore=True
        )
        state = ocp.PyTreeCheckpointer().restore(folder, args=request)["state"]
        # As in `evaluated_params`, the moving average may cover only some top-level parts.
        params = {**state["params"], **state.get("ema", {})}
        return {"params": params, **state.get("model_state", {})}

    def _whole(self, step: int) -> Path:
        """The arrays of a checkpoint whose files are as they were written."""
        if damage := self.damage(step):
            raise DamagedFile(f"the checkpoint of step {step:,} is damaged: {damage}")
        return self.directory / str(step) / "arrays"

    def wait(self) -> None:
        """Wait until the last save is committed; raise its error if it failed.

        All processes of a job call it.
        """
        self._finish()
        self._meet("saved")

    def _meet(self, name: str) -> None:
        """Wait for the other processes of the job."""
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(f"checkpoints {name}")

    def _finish(self) -> None:
        """Wait for the thread of this process; raise the error of the last save."""
        committing, self._committing = self._committing, None
        if committing is not None:
            committing.result()

    def close(self) -> None:
        """Wait for the last save and release the background threads."""
        try:
            self._finish()
        finally:
            self._thread.shutdown()
            self._checkpointer.close()


@jax.jit
def _copy(tree: PyTree) -> PyTree:
    return jax.tree.map(jnp.copy, tree)
