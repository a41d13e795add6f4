"""The training loop: advance, log, evaluate, adapt, save.

It knows no model, task or data set. It moves in chunks of about a second, so the devices
never wait for Python; what is computed does not depend on where the chunks are cut.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jax.experimental import multihost_utils

from cnn_jax.errors import UserError
from cnn_jax.training.control import ControlConfig, adapt
from cnn_jax.training.state import TrainState

CHUNK_SECONDS = 1.0


class TrainingDiverged(UserError):
    """The loss or its gradient is no longer finite."""


class Interrupted(Exception):
    """The run was asked to stop; its state has been saved."""


@dataclass(frozen=True)
class Plan:
    """When things happen, in steps."""

    total: int
    log_every: int
    evaluate_every: int
    save_every: int

    def logs(self, step: int) -> bool:
        """Whether a training row is written after this step."""
        return step % self.log_every == 0 or step == self.total

    def evaluates(self, step: int) -> bool:
        """Whether the validation split is evaluated after this step."""
        return step % self.evaluate_every == 0 or step == self.total

    def saves(self, step: int) -> bool:
        """Whether a checkpoint is saved after this step."""
        return step % self.save_every == 0 or step == self.total

    def next_event(self, step: int) -> int:
        """The next step after which something happens."""
        every = (self.log_every, self.evaluate_every, self.save_every)
        return min(self.total, *((step // n + 1) * n for n in every))


@runtime_checkable
class Observer(Protocol):
    """What is told of a run's progress."""

    def chunk(self, step: int, sums: dict[str, Any], examples_per_second: float) -> None:
        """A chunk of steps is done."""
        ...

    def train(self, step: int, sums: dict[str, Any], scale: Any) -> None:
        """A training row is due; ``scale`` is the plateau's factor on the learning rate."""
        ...

    def validation(self, step: int, summary: dict[str, Any]) -> None:
        """The validation split has been evaluated."""
        ...


def fit(
    state: TrainState,
    sums: dict[str, Any],
    *,
    plan: Plan,
    control: ControlConfig,
    advance: Callable[[TrainState, Any, int], tuple[TrainState, Any]],
    evaluate: Callable[[TrainState], dict[str, Any]] | None,
    replicate: Callable[[Any], Any],
    observer: Observer,
    save: Callable[[int, TrainState, Any, dict[str, Any] | None], None],
    stop_requested: Callable[[int], bool],
) -> TrainState:
    """Train until the plan's end or early stopping.

    Where several runs train at once (``sweep.py``), the state's ``control``, the sums and the
    metrics hold a value for each, and training ends when all have stopped.

    Args:
        state: where to start; it is consumed.
        sums: the training metrics' sums since the last training row.
        plan: when things happen.
        control: decrease on plateau and early stopping.
        advance: makes n steps and adds to the sums.
        evaluate: metrics of the validation split; None where there is none.
        replicate: puts host values on the devices.
        observer: is told of progress.
        save: writes a checkpoint.
        stop_requested: whether somebody (the user, the scheduler) wants the run to end.

    Raises:
        TrainingDiverged: the loss is not finite; nothing of it has been saved.
        Interrupted: after a save, when a stop was requested.
    """
    chunk = 1
    while (step := int(state.step)) < plan.total and not np.all(state.control.stopped):
        n = min(chunk, plan.next_event(step) - step)
        start = time.perf_counter()
        state, sums = advance(state, sums, n)
        host_sums = jax.tree.map(np.asarray, sums)
        seconds = time.perf_counter() - start
        step += n
        _check_finite(host_sums, step)
        # Runs that have stopped make no steps, and all of several may have.
        examples = np.sum(host_sums["weight"]) / max(np.sum(host_sums["steps"]), 1)
        observer.chunk(step, host_sums, float(n * examples / seconds))
        chunk = _agreed(chunk, n, seconds)

        if plan.logs(step):
            observer.train(step, host_sums, np.asarray(state.control.scale).tolist())
            sums = replicate(jax.tree.map(np.zeros_like, host_sums))
        summary = None
        if evaluate is not None and plan.evaluates(step):
            summary = evaluate(state)
            observer.validation(step, summary)
            decided = adapt(state.control, summary["loss"], control)
            state = state.replace(control=replicate(decided))
        stopping = stop_requested(step)
        if plan.saves(step) or stopping or np.all(state.control.stopped):
            save(step, state, sums, summary)
        if stopping and step < plan.total:
            raise Interrupted(f"stopped at step {step} of {plan.total}; the state is saved")
    return state


def _check_finite(sums: dict[str, Any], step: int) -> None:
    bad = int(np.max(sums["steps"] - sums["finite_steps"]))
    if bad:
        raise TrainingDiverged(
            f"the loss or its gradient became non-finite at step {step - bad + 1}"
        )


def _agreed(chunk: int, n: int, seconds: float) -> int:
    """The next chunk's length, about a second, the same in all processes."""
    # No more than four times the last: the first one's time is mostly compilation.
    wanted = max(1, min(round(n / seconds * CHUNK_SECONDS), 4 * chunk))
    if jax.process_count() > 1:
        wanted = int(multihost_utils.broadcast_one_to_all(np.int32(wanted)))
    return wanted
