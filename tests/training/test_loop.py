"""The loop, driven by a training that only counts."""

import math
import signal
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.training import (
    ControlConfig,
    Interrupted,
    Plan,
    TrainingDiverged,
    TrainState,
    adapt,
    fit,
    init_state,
    loop,
)
from cnn_jax.training.plan import round_distance
from cnn_jax.training.signals import stop_signals


def test_events_of_a_plan() -> None:
    plan = Plan(total=20, log_every=4, evaluate_every=10, save_every=7)
    assert [s for s in range(1, 21) if plan.logs(s)] == [4, 8, 12, 16, 20]
    assert [s for s in range(1, 21) if plan.evaluates(s)] == [10, 20]
    assert [s for s in range(1, 21) if plan.saves(s)] == [7, 14, 20]
    step, events = 0, []
    while step < 20:
        step = plan.next_event(step)
        events.append(step)
    assert events == [4, 7, 8, 10, 12, 14, 16, 20]


@pytest.mark.parametrize(
    ("total", "distance"),
    [(0, 1), (1, 1), (12, 1), (99, 1), (100, 2), (249, 2), (250, 5), (500, 10), (3510, 50)],
)
def test_the_rows_of_a_run(total: int, distance: int) -> None:
    assert round_distance(total) == distance


def test_a_run_has_50_to_125_rows() -> None:
    rows = [math.ceil(total / round_distance(total)) for total in range(50, 100_000)]
    assert min(rows) == 50 and max(rows) == 125


NEVER = ControlConfig()
SUMS = ("loss", "weight", "examples", "steps", "finite_steps")


class Counting:
    """A training whose loss is the step's number, and all that a loop calls."""

    def __init__(self, losses: list[float] | None = None, bad_from: int = 10**9) -> None:
        self.losses, self.bad_from = losses or [], bad_from
        self.events: list[Any] = []
        self.chunks: list[int] = []
        self.best = float("inf")

    def advance(self, state: TrainState, sums: Any, n: int) -> tuple[TrainState, Any]:
        self.chunks.append(n)
        for _ in range(n):
            step = int(state.step) + 1
            state = state.replace(step=jnp.int32(step))
            parts = {
                "loss": step,
                "weight": 3.0,
                "examples": 2.0,
                "steps": 1.0,
                "finite_steps": step < self.bad_from,
            }
            sums = {name: value + parts[name] for name, value in sums.items()}
        return state, sums

    def evaluate(self, state: TrainState) -> dict[str, float]:
        return {"loss": self.losses.pop(0) if self.losses else 1.0}

    def chunk(self, step: int, sums: Any, examples_per_second: float) -> None:
        assert examples_per_second > 0

    def train(self, step: int, sums: Any) -> None:
        self.events.append(("train", step, float(sums["loss"]), float(sums["steps"])))

    def validation(self, step: int, metrics: dict[str, float]) -> None:
        self.events.append(("validation", step, metrics["loss"]))

    def draw(self, step: int, state: TrainState) -> None:
        self.events.append(("draw", step, float(state.control.scale)))

    def is_best(self, metrics: dict[str, float]) -> bool:
        better = metrics["loss"] < self.best
        self.best = min(self.best, metrics["loss"])
        return better

    def save(self, step: int, state: TrainState, sums: Any, metrics: Any) -> None:
        assert int(state.step) == step
        self.events.append(("save", step, float(sums["loss"])))

    def fit(
        self,
        plan: Plan,
        control: ControlConfig = NEVER,
        stop: int = -1,
        state: TrainState | None = None,
        **options: Any,
    ) -> Any:
        state = state or init_state({}, {}, None, jax.random.key(0))
        options = {"stop_requested": lambda step: step >= stop > 0} | options

        def follow(state: TrainState, metrics: dict[str, float]) -> TrainState:
            decided = adapt(state.control, metrics["loss"], control, higher_is_better=False)
            return state.replace(control=decided)

        return fit(
            state,
            {name: np.zeros(()) for name in SUMS},
            plan=plan,
            advance=self.advance,
            evaluate=self.evaluate,
            adapt=follow,
            draw=self.draw,
            place=lambda tree: tree,
            observer=self,
            save=self.save,
            is_best=self.is_best,
            **options,
        )


PLAN = Plan(total=10, log_every=4, evaluate_every=5, save_every=5)


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_what_happens_does_not_depend_on_the_chunks(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr(loop, "CHUNK_SECONDS", seconds)
    run = Counting([2.0, 1.0])
    assert int(run.fit(PLAN).step) == 10
    assert run.events == [
        ("train", 4, 1 + 2 + 3 + 4, 4),
        ("validation", 5, 2.0),
        ("draw", 5, 1.0),
        ("save", 5, 5.0),  # with the sums of the row that is not yet due
        ("train", 8, 5 + 6 + 7 + 8, 4),
        ("train", 10, 9 + 10, 2),
        ("validation", 10, 1.0),
        ("draw", 10, 1.0),
        ("save", 10, 0.0),
    ]
    assert run.chunks == ([1] * 10 if seconds == 0 else [1, 3, 1, 3, 2])


def test_the_rate_decreases_and_the_run_stops_early() -> None:
    run = Counting([1.0, 1.0, 1.0, 1.0])
    control = ControlConfig(plateau_patience=1, plateau_factor=0.5, stop_patience=3)
    state = run.fit(Plan(total=100, log_every=2, evaluate_every=2, save_every=50), control)
    assert int(state.step) == 8
    assert [event[2] for event in run.events if event[0] == "draw"] == [1.0, 0.5, 0.25, 0.125]
    # The best evaluation, and the end.
    assert [event[:2] for event in run.events if event[0] == "save"] == [("save", 2), ("save", 8)]


@pytest.mark.parametrize("bad", [1, 3, 6])
def test_a_diverged_run_names_its_step_and_saves_nothing_of_it(bad: int) -> None:
    run = Counting(bad_from=bad)
    with pytest.raises(TrainingDiverged, match=f"became non-finite at step {bad}$"):
        run.fit(PLAN)
    assert [event[1] for event in run.events if event[0] == "save"] == ([5] if bad > 5 else [])


def test_a_run_that_is_asked_to_stop_saves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "CHUNK_SECONDS", 0.0)
    run = Counting()
    with pytest.raises(Interrupted, match="stopped at step 3 of 10; the state is saved"):
        run.fit(PLAN, stop=3)
    assert run.events == [("save", 3, 6.0)]
    # Asked at the very end it is simply done.
    assert int(Counting().fit(PLAN, stop=10).step) == 10


@pytest.mark.parametrize("failing", ["advance", "evaluate", "draw"])
def test_what_fails_loses_nothing(failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "CHUNK_SECONDS", 0.0)
    run, calls = Counting(), []
    works = getattr(run, failing)

    def fails(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == {"advance": 4, "evaluate": 1, "draw": 1}[failing]:
            raise ValueError("it fails")
        return works(*arguments)

    monkeypatch.setattr(run, failing, fails)
    with pytest.raises(ValueError, match="it fails") as caught:
        run.fit(PLAN)
    step = 3 if failing == "advance" else 5
    assert run.events[-1][:2] == ("save", step)
    assert caught.value.__notes__ == [f"The state of step {step} is saved."]
    evaluated = [event for event in run.events if event[0] == "validation"]
    assert len(evaluated) == (failing == "draw")


def test_a_save_that_fails_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    run, saved = Counting(), []

    def full(step: int, *_: Any) -> None:
        saved.append(step)
        raise OSError("full")

    monkeypatch.setattr(run, "save", full)
    with pytest.raises(OSError, match="full") as caught:
        run.fit(PLAN)
    assert saved == [5] and not hasattr(caught.value, "__notes__")


def test_a_state_that_a_failed_step_has_consumed_is_not_saved() -> None:
    run = Counting()

    def fails(state: TrainState, sums: Any, n: int) -> Any:
        if int(state.step) == 1:
            state.step.delete()
            raise MemoryError
        return Counting.advance(run, state, sums, n)

    run.advance = fails  # type: ignore[method-assign]
    with pytest.raises(MemoryError):
        run.fit(PLAN)
    assert run.events == []


def test_a_signal_interrupts_an_evaluation_which_is_made_when_the_run_goes_on() -> None:
    run = Counting()

    def interrupted(state: TrainState) -> dict[str, float]:
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("not reached")

    run.evaluate = interrupted  # type: ignore[method-assign]
    with (
        pytest.raises(Interrupted, match="stopped at step 5 of 10; the state is saved"),
        stop_signals() as stop_requested,
    ):
        run.fit(PLAN, stop_requested=stop_requested)
    assert [event[:2] for event in run.events] == [("train", 4), ("save", 5)]
    # Its checkpoint is written anew, now with the evaluation.
    again = Counting()
    state = init_state({}, {}, None, jax.random.key(0)).replace(step=jnp.int32(5))
    again.fit(PLAN, resumed=True, unfinished=True, state=state)
    assert [event[:2] for event in again.events[:3]] == [
        ("validation", 5),
        ("draw", 5),
        ("save", 5),
    ]


def test_the_best_evaluation_is_saved_between_the_saves() -> None:
    run = Counting([3.0, 2.0, 2.0, 2.5, 1.0, 4.0])
    run.fit(Plan(total=12, log_every=12, evaluate_every=2, save_every=12))
    assert [event[1] for event in run.events if event[0] == "save"] == [2, 4, 10, 12]


def test_no_steps_are_an_evaluation_of_what_there_is() -> None:
    run = Counting([3.0])
    plan = Plan(total=0, log_every=1, evaluate_every=1, save_every=1)
    assert int(run.fit(plan).step) == 0
    assert run.events == [("validation", 0, 3.0), ("draw", 0, 1.0), ("save", 0, 0.0)]
    again = Counting()
    again.fit(plan, resumed=True)
    assert again.events == [] and again.chunks == []
