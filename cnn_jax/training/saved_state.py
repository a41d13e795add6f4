"""What a run saves and goes on from: state, sums of the current row, rows and clock."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import PyTree

from cnn_jax.training.checkpoint import Checkpoints
from cnn_jax.training.metrics_file import MetricsFile
from cnn_jax.training.program import Metrics, Program, Sums, Variables
from cnn_jax.training.runner import Runner
from cnn_jax.training.state import TrainState


class SavedState:
    """State, sums and clock of a run on the devices: fresh, or from its last whole checkpoint.

    Damaged checkpoints are set aside, and what a kill left behind is removed.

    Args:
        directory: of the checkpoints.
        runner: gives the fresh state, and places what is restored as it lies.
        change: maps the fresh variables to those that training starts from.

    Raises:
        DamagedFile: there are checkpoints, and none is whole.
        CheckpointMismatch: the last checkpoint is of another model.
    """

    def __init__(
        self, directory: Path, runner: Runner, change: Callable[[Variables], Variables]
    ) -> None:
        program: Program = runner.program
        self._place = runner.parallel.place
        state = runner.init(change)
        saved = {
            "state": state,
            "sums": runner.zero_sums(state),
            "seconds": self._place(np.float32(0.0)),
        }
        self.checkpoints = Checkpoints(
            directory, best_metric=program.best_metric, higher_is_better=program.higher_is_better
        )
        self.notes = self.checkpoints.mend()
        """What became of damaged checkpoints."""
        self.first = self.checkpoints.latest_step()
        """Step of the checkpoint that the run goes on from; None: it starts anew."""
        self.record = ""
        """The ``metrics.csv`` of that checkpoint."""
        if self.first is not None:
            saved = self.checkpoints.restore(self.first, saved)
            self.record = self.checkpoints.read(self.first, "metrics.csv") or ""
        self.state, self.sums = saved["state"], saved["sums"]
        self.seconds, self._started = float(saved["seconds"]), time.perf_counter()

    def save(
        self,
        step: int,
        state: TrainState,
        sums: Sums,
        metrics: Metrics | None,
        *,
        metrics_file: MetricsFile,
    ) -> None:
        """Start to write a checkpoint, with the rows so far."""
        now = time.perf_counter()
        self.seconds, self._started = self.seconds + now - self._started, now
        texts = {"metrics.csv": metrics_file.text()}
        self.checkpoints.save(step, self._tree(state, sums), metrics, texts)

    def best(self, last: TrainState) -> TrainState:
        """The state of the best evaluation; the last one where none had a finite metric."""
        step = self.checkpoints.best_step()
        if step is None or step == int(last.step):
            return last
        self.checkpoints.wait()
        return self.checkpoints.restore(step, self._tree(last, self.sums))["state"]

    def _tree(self, state: TrainState, sums: Sums) -> PyTree:
        return {"state": state, "sums": sums, "seconds": self._place(np.float32(self.seconds))}
