"""A sweep: each lane is the run of its rate, and one that ends leaves the others alone."""

import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import pytest
from flax import linen as nn

from cnn_jax.data import ArraySplit, Dataset
from cnn_jax.errors import ConfigError, UserError
from cnn_jax.layers import Dropout, Linear, relu
from cnn_jax.tasks import Classification
from cnn_jax.training import (
    Checkpoints,
    ControlConfig,
    Experiment,
    Interrupted,
    OptimizerConfig,
    Parallel,
    Plan,
    Program,
    SweepConfig,
    SweepResult,
    TrainingConfig,
    TrainingDiverged,
    make_parallel,
    make_schedule,
    supervised,
    sweep,
    train,
)
from cnn_jax.training import swept as swept_module
from cnn_jax.training.swept import swept as swept_program
from tests.tolerance import assert_close
from tests.training.small import ConvNet, dataset, one_device, relative_error, wide

RATES = (0.03, 0.1, 0.003)


class Perceptron(nn.Module):
    """The smallest network with a hidden layer and randomness of its own."""

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Any:
        x = relu(Linear(8, name="hidden")(x.reshape(len(x), -1)))
        return Linear(4, name="head")(Dropout(0.2)(x, train=train))


EXPERIMENT = Experiment(
    dataset=dataset(),
    task=Classification(Perceptron()),
    optimizer=OptimizerConfig(learning_rate=7.0, schedule="cosine", l2=1e-3),
    training=TrainingConfig(
        duration="13 steps",
        batch_size=24,
        ema_decay=0.9,
        log_every="3 steps",
        evaluate_every="2 steps",
        save_every="4 steps",
        eval_batch_size=16,
        layer_gradients=True,
    ),
    # So hard to please that lanes decrease their rates and stop, each at its own step.
    control=ControlConfig(
        plateau_patience=1,
        plateau_factor=0.5,
        stop_patience=2,
        min_improvement=0.05,
        restore_best="no",
    ),
    # In float64 where that is enabled.
    initialize=lambda variables, _: wide(variables) if jax.config.jax_enable_x64 else variables,
)


def run(
    directory: Path,
    experiment: Experiment = EXPERIMENT,
    way: Parallel | None = None,
    rates: tuple[float, ...] = RATES,
) -> SweepResult:
    directory.mkdir(exist_ok=True)
    return sweep(experiment, rates, directory, way or one_device(), seed=5, title="test")


def in_steps(duration: str) -> int:
    return int(duration.split()[0])


def with_rate(rate: float, experiment: Experiment = EXPERIMENT) -> Experiment:
    return replace(experiment, optimizer=replace(experiment.optimizer, learning_rate=rate))


@pytest.mark.parametrize(
    "config",
    [
        OptimizerConfig(name="sgd", l2=1e-2, weight_decay=0.1, clip_norm=0.1),
        OptimizerConfig(name="adam", l2=1e-2, weight_decay=0.1),
        OptimizerConfig(name="adamw", weight_decay=0.1),
        OptimizerConfig(name="lamb", weight_decay=0.1),
        OptimizerConfig(name="muon", weight_decay=0.1),
    ],
    ids=lambda config: config.name,
)
def test_every_optimizer_s_update_is_proportional_to_the_rate(config: OptimizerConfig) -> None:
    rng = np.random.default_rng(0)
    batches = [
        {
            "image": rng.normal(size=(16, 5)),
            "label": rng.integers(4, size=16).astype(np.int32),
            "slot": np.arange(16, dtype=np.int32),
            "weight": np.ones(16),
        }
        for _ in range(4)
    ]
    points = Dataset("points", "points", {"train": points_of(rng, 16)}, ("a", "b", "c", "d"))
    plan = Plan(6, 1, 1, 1, batch_size=16)

    def program(rate: float) -> Program:
        shaped = replace(config, learning_rate=rate, schedule="cosine")
        return supervised(replace(EXPERIMENT, dataset=points, optimizer=shaped), plan)

    def after_batches(one: Program) -> Any:
        state, step = one.init(jax.random.key(0), wide), jax.jit(one.train_step)
        for batch in batches:
            state, _ = step(state, batch)
        return state

    with jax.enable_x64(True):
        lanes = after_batches(swept_program(program(1.0), RATES[:2]))
        for lane, rate in enumerate(RATES[:2]):
            own = jax.tree.map(lambda leaf, i=lane: leaf[i], lanes.params)
            assert_close(own, after_batches(program(rate)).params)
    assert int(lanes.step) == 4 and lanes.control.steps.tolist() == [4, 4]


def points_of(rng: np.random.Generator, n: int) -> ArraySplit:
    x = rng.normal(size=(n, 5)).astype(np.float32)
    return ArraySplit({"image": x, "label": (x[:, 0] > 0).astype(np.int32)})


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine", "linear", "poly", "one_cycle"])
def test_every_schedule_is_proportional_to_the_rate(schedule: Any) -> None:
    config = OptimizerConfig(
        schedule=schedule,
        warmup="0 steps" if schedule == "one_cycle" else "5 steps",
        warmup_factor=0.2,
        milestones=("12 steps",) if schedule == "step" else (),
    )

    def rates(peak: float) -> np.ndarray:
        at = make_schedule(replace(config, learning_rate=peak), 20, in_steps)
        return np.array([float(at(step)) for step in range(20)])

    # Optax computes its linear parts in float32.
    np.testing.assert_allclose(rates(0.03), 0.03 * rates(1.0), rtol=1e-6, atol=1e-9)


def test_every_lane_is_the_run_of_its_rate(tmp_path: Path) -> None:
    with jax.enable_x64(True):
        swept = run(tmp_path / "sweep")
        for lane, rate in enumerate(RATES):
            (tmp_path / str(rate)).mkdir()
            alone = train(
                with_rate(rate), tmp_path / str(rate), one_device(), seed=5, title="alone"
            )
            told = swept.lanes[lane]
            for name in ("step", "stopped_early"):
                assert told[name] == alone.summary[name]
            assert_close(told["validation"], alone.summary["validation"], rtol=1e-9)
            rows = told["rows"]
            # A lane that has stopped goes on to be evaluated, and has no more training rows.
            assert [(row["step"], row["split"]) for row in rows[: len(alone.rows) - 1]] == [
                (row["step"], row["split"]) for row in alone.rows[:-1]
            ]
            for row, expected in zip(rows, alone.rows[:-1], strict=False):
                assert row.keys() == expected.keys()
                for name, value in expected.items():
                    text = isinstance(value, str)
                    assert row[name] == (value if text else pytest.approx(value, rel=1e-6))
            if lane == swept.chosen:
                assert relative_error(swept.result.variables, alone.variables) < 1e-9
                assert swept.result.summary.keys() == alone.summary.keys()
                assert swept.result.experiment.optimizer.learning_rate == rate
                assert swept.result.rows == rows
                assert_close(swept.result.outputs("validation"), alone.outputs("validation"))
    # Lanes have stopped apart, and the plateau has been at work, apart too.
    assert len({lane["step"] for lane in swept.lanes}) > 1
    best = max(range(3), key=lambda lane: swept.lanes[lane]["validation"]["accuracy"])
    assert swept.lanes[swept.chosen]["validation"] == swept.lanes[best]["validation"]


LONG = replace(EXPERIMENT, control=ControlConfig(plateau_patience=1, min_improvement=0.05))


def test_a_sweep_over_devices_is_the_one_on_a_device(tmp_path: Path) -> None:
    task = Classification(ConvNet())
    experiment = replace(LONG, task=task, training=replace(LONG.training, duration="4 steps"))
    with jax.enable_x64(True):
        one = run(tmp_path / "one", experiment)
        for mode in ("jit", "pmap"):
            many = run(tmp_path / mode, experiment, make_parallel(mode))
            assert one.chosen == many.chosen
            assert_close(many.result.variables, one.result.variables, rtol=1e-7)
            for a, b in zip(one.lanes, many.lanes, strict=True):
                assert_close(b["validation"], a["validation"], rtol=1e-6)


def test_a_lane_that_diverges_stays_and_the_others_go_on(tmp_path: Path) -> None:
    calm = run(tmp_path / "calm", LONG, rates=(0.03,))
    mixed = run(tmp_path / "mixed", LONG, rates=(1e30, 0.03))
    first, second = mixed.lanes
    assert first["diverged"] and first["validation"] is None and not first["stopped_early"]
    assert 0 < first["step"] < 13
    assert not second["diverged"] and second["step"] == 13
    assert mixed.chosen == 1
    assert relative_error(mixed.result.variables, calm.result.variables) < 1e-4
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(mixed.result.variables))
    losses = [row["loss"] for row in first["rows"] if row["split"] == "validation"]
    assert all(np.isnan(loss) or loss == "" for loss in losses[1:])


def test_when_every_lane_diverges_the_sweep_says_where(tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match="became non-finite at step 2; nothing was saved"):
        run(tmp_path, rates=(1e30, 2e30))


class StopAt:
    """Asks a run to stop after a step, as a signal would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, step: int) -> bool:
        return step == self.step


def test_a_stopped_and_resumed_sweep_is_the_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = (*RATES, 1e30)
    whole = run(tmp_path / "whole", rates=rates)
    module = sys.modules[train.__module__]
    with monkeypatch.context() as patch:
        patch.setattr(module, "stop_signals", lambda: nullcontext(StopAt(6)))
        with pytest.raises(Interrupted, match="stopped at step 6 of 13; the state is saved"):
            run(tmp_path / "parts", rates=rates)
    parts = run(tmp_path / "parts", rates=rates)
    jax.tree.map(np.testing.assert_array_equal, parts.result.variables, whole.result.variables)
    for a, b in zip(parts.lanes, whole.lanes, strict=True):
        np.testing.assert_equal(a, b)
    files = [tmp_path / name / "rates" / "metrics.csv" for name in ("whole", "parts")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_rates_that_make_no_sense_are_named(tmp_path: Path) -> None:
    for rate in (0.0, -0.1, float("nan"), float("inf")):
        with pytest.raises(UserError, match=f"must be more than 0.*, got {rate}"):
            SweepConfig((0.1, rate))
    with pytest.raises(UserError, match="must differ"):
        SweepConfig((0.1, 0.1))
    with pytest.raises(ConfigError, match="at least one learning rate"):
        run(tmp_path, rates=())


def test_without_a_validation_split_no_rate_can_be_chosen(tmp_path: Path) -> None:
    data = dataset()
    splits = {"train": data.splits["train"], "test": data.splits["validation"]}
    with pytest.raises(ConfigError, match="by the validation split, and blobs has only train, tes"):
        run(tmp_path, replace(EXPERIMENT, dataset=replace(data, splits=splits)))


def test_what_does_not_fit_into_memory_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swept_module, "memory_of_a_device", lambda: 50_000)
    with pytest.raises(ConfigError) as caught:
        run(tmp_path)
    assert "3 learning rates at once need about 0.1 MiB" in str(caught.value)
    assert "sweep at most 2 at once" in str(caught.value)


def test_points_and_the_test_split_of_the_chosen_rate(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sizes = {"train": 64, "validation": 16, "test": 16}
    splits = {name: points_of(rng, n) for name, n in sizes.items()}
    data = Dataset("points", "points", splits, class_names=("a", "b"))
    result = run(tmp_path, replace(LONG, dataset=data))
    assert 0 <= result.result.summary["test"]["accuracy"] <= 1
    assert all("test" not in lane for lane in result.lanes)


@pytest.mark.parametrize("restore", ["yes", "no"])
def test_the_chosen_network_is_saved_as_the_run_of_its_rate_leaves_it(
    tmp_path: Path, restore: Literal["yes", "no"]
) -> None:
    control = replace(EXPERIMENT.control, restore_best=restore)
    experiment = replace(EXPERIMENT, control=control)
    for _ in range(2):  # the second time it is there
        result = run(tmp_path / "swept", experiment)
    summary = result.result.summary
    rate = result.lanes[result.chosen]["learning_rate"]
    alone = train(
        with_rate(rate, experiment), tmp_path / "alone", one_device(), seed=5, title="test"
    )
    assert summary["weights"] == alone.summary["weights"] == {"yes": "best", "no": "last"}[restore]
    checkpoints = Checkpoints(tmp_path / "swept" / "checkpoints", best_metric="accuracy")
    assert checkpoints.steps() == [checkpoints.best_step()] == [summary["weights_step"]]
    saved = checkpoints.variables(summary["weights_step"])
    checkpoints.close()
    jax.tree.map(np.testing.assert_array_equal, saved, result.result.variables)
    assert relative_error(saved, alone.variables) < 1e-4
    # Compared with the other rates, the chosen one is best where it is taken.
    ends = [lane["validation"]["accuracy"] for lane in result.lanes]
    assert max(ends) == ends[result.chosen] == summary["validation"]["accuracy"]
    if restore == "yes":
        rows = [row for lane in result.lanes for row in lane["rows"] if row["accuracy"] != ""]
        seen = [row["accuracy"] for row in rows if row["split"] == "validation"]
        assert ends[result.chosen] == max(seen)
