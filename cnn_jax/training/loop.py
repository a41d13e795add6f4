"""The training loop: advance, log, evaluate, adapt, draw, save.

It knows no model, task or data set. It moves in chunks of about a second, so the devices
never wait for Python; what is computed does not depend on where the chunks are cut.
"""

import time
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jax.experimental import multihost_utils

from cnn_jax.errors import UserError
from cnn_jax.training.plan import Plan
from cnn_jax.training.program import Metrics, Sums
from cnn_jax.training.signals import Interrupted, reacting
from cnn_jax.training.state import TrainState

CHUNK_SECONDS = 1.0


class TrainingDiverged(UserError):
    """The loss or its gradient is no longer finite."""


@runtime_checkable
class Observer(Protocol):
    """What is told of a run's progress."""

    def chunk(self, step: int, sums: Sums, examples_per_second: float) -> None:
        """A chunk of steps is done."""
        ...

    def train(self, step: int, sums: Sums) -> None:
        """A training row is due."""
        ...

    def validation(self, step: int, metrics: Metrics) -> None:
        """The validation split has been evaluated."""
        ...


def fit(
    state: TrainState,
    sums: Sums,
    *,
    plan: Plan,
    advance: Callable[[TrainState, Sums, int], tuple[TrainState, Sums]],
    evaluate: Callable[[TrainState], Metrics] | None,
    adapt: Callable[[TrainState, Metrics], TrainState],
    draw: Callable[[int, TrainState], None],
    place: Callable[[Any], Any],
    observer: Observer,
    save: Callable[[int, TrainState, Sums, Metrics | None], None],
    is_best: Callable[[Metrics], bool],
    stop_requested: Callable[[int], bool],
    resumed: bool = False,
    unfinished: bool = False,
) -> TrainState:
    """Train until the plan's end or early stopping.

    A checkpoint is saved when it is due, at the end, and whenever an evaluation is the best so far.
    A plan of no steps evaluates and saves the state that it is given. Where anything fails, the
    last good state is saved first, unless several processes train: the others wait elsewhere.

    Args:
        state: where to start; it is consumed.
        sums: the training sums since the last training row.
        plan: when things happen.
        advance: makes n steps and adds to the sums. It may make fewer, and raise what kept it from
            the others when it is called again.
        evaluate: metrics of the validation split; None where there is none.
        adapt: the state after an evaluation (decrease on plateau, early stopping).
        draw: draws pictures of the state, at evaluations.
        place: puts host values on the devices.
        observer: is told of progress.
        save: writes a checkpoint.
        is_best: whether an evaluation is the best so far.
        stop_requested: whether somebody (the user, the scheduler) wants the run to end.
        resumed: whether ``state`` has been saved before.
        unfinished: whether it was saved before an evaluation that is due.

    Raises:
        TrainingDiverged: the loss is not finite; nothing of it has been saved.
        Interrupted: after a save, when a stop was requested.
    """
    step = int(state.step)
    unfinished = unfinished or (plan.total == 0 and not resumed)
    saved = step
    metrics: Metrics | None = None

    can_save = True

    def keep() -> None:
        nonlocal saved, can_save
        can_save = False
        save(step, state, sums, metrics)
        saved, can_save = step, True

    def conclude() -> None:
        """Do what is due after a step: evaluate, adapt, draw and save."""
        nonlocal state, metrics
        metrics = None
        if plan.evaluates(step):
            if evaluate is not None:
                with reacting("raise"):
                    evaluated = evaluate(state)
                # The row says that the state has been adapted.
                state, metrics = adapt(state, evaluated), evaluated
                observer.validation(step, evaluated)
            draw(step, state)
        stopping = stop_requested(step)
        best = metrics is not None and is_best(metrics)
        if plan.saves(step) or best or stopping or state.control.stopped:
            keep()
        if stopping and step < plan.total:
            raise Interrupted

    chunk, first = 1, step
    try:
        if unfinished:
            conclude()
        while step < plan.total and not state.control.stopped:
            n = min(chunk, plan.next_event(step) - step)
            start = time.perf_counter()
            # Nothing is lost with the first chunk, in which the step is compiled.
            with reacting("end" if step == first else "note"):
                ahead = advance(state, sums, n)
                host_sums = jax.tree.map(np.asarray, ahead[1])
            seconds = time.perf_counter() - start
            state, sums = ahead
            n, step = int(state.step) - step, int(state.step)
            _check_finite(host_sums, step)
            examples = host_sums["examples"] / host_sums["steps"]
            observer.chunk(step, host_sums, float(n * examples / seconds))
            chunk = _agreed(chunk, n, seconds)
            if plan.logs(step):
                observer.train(step, host_sums)
                sums = place(jax.tree.map(np.zeros_like, host_sums))
            conclude()
    except TrainingDiverged:
        raise
    except (Exception, Interrupted) as error:
        alone = jax.process_count() == 1
        if alone and can_save and saved != step and _is_whole(state, sums):
            keep()
        if isinstance(error, Interrupted) or (alone and stop_requested(step)):
            raise _interrupted(step, plan) from None
        if saved and can_save:
            error.add_note(f"The state of step {saved:,} is saved.")
        raise
    return state


def _interrupted(step: int, plan: Plan) -> Interrupted:
    if not step:
        return Interrupted("stopped before the first step")
    return Interrupted(f"stopped at step {step} of {plan.total}; the state is saved")


def _is_whole(*trees: Any) -> bool:
    """Whether no array has been consumed by a step that failed."""
    arrays = (leaf for leaf in jax.tree.leaves(trees) if isinstance(leaf, jax.Array))
    return not any(array.is_deleted() for array in arrays)


def _check_finite(sums: Sums, step: int) -> None:
    bad = int(sums["steps"] - sums["finite_steps"])
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
