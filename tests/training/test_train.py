"""A whole training run: stopped and resumed to the bit, a function of its seed, told to stop."""

import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from cnn_jax.data import random_crop
from cnn_jax.errors import ConfigError
from cnn_jax.tasks import Classification
from cnn_jax.training import (
    CheckpointMismatch,
    ControlConfig,
    Experiment,
    Interrupted,
    OptimizerConfig,
    Parallel,
    Result,
    TrainingConfig,
    TrainingDiverged,
    make_parallel,
    train,
)
from tests.training.small import ConvNet, dataset, one_device

EXPERIMENT = Experiment(
    dataset=dataset(augment=(random_crop(2),)),
    task=Classification(ConvNet(), label_smoothing=0.1),
    optimizer=OptimizerConfig(learning_rate=0.3, schedule="cosine", l2=1e-3, warmup="2 steps"),
    training=TrainingConfig(
        duration="13 steps",
        batch_size=24,
        ema_decay=0.9,
        log_every="3 steps",
        evaluate_every="2 steps",
        save_every="4 steps",
        eval_batch_size=16,
    ),
    # So quick to give up that a plateau happens: at any accuracy that is not half as much again.
    control=ControlConfig(plateau_patience=2, plateau_factor=0.5, min_improvement=0.5),
)


def run(
    directory: Path, experiment: Experiment = EXPERIMENT, way: Parallel | None = None, seed: int = 5
) -> Result:
    directory.mkdir(exist_ok=True)
    return train(experiment, directory, way or make_parallel("jit"), seed=seed, title="test")


def with_training(**changes: Any) -> Experiment:
    return replace(EXPERIMENT, training=replace(EXPERIMENT.training, **changes))


def assert_same(directory: Path, actual: Result, other: Path, expected: Result) -> None:
    jax.tree.map(np.testing.assert_array_equal, actual.variables, expected.variables)
    assert (directory / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes()
    assert actual.summary["validation"] == expected.summary["validation"]


class StopAt:
    """Asks a run to stop after a step, as a signal would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, step: int) -> bool:
        return step == self.step


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    directory = tmp_path_factory.mktemp("whole")
    return directory, run(directory)


def test_what_a_run_leaves(whole: tuple[Path, Result]) -> None:
    directory, result = whole
    assert result.summary["step"] == 13
    assert result.summary["epochs"] == 6.5
    assert not result.summary["stopped_early"]
    assert [row["step"] for row in result.rows if row["split"] == "train"] == [3, 6, 9, 12, 13]
    evaluated = [row["step"] for row in result.rows if row["split"] == "validation"]
    assert evaluated == [2, 4, 6, 8, 10, 12, 13]
    assert sorted(p.name for p in directory.iterdir()) == ["checkpoints", "metrics.csv"]
    assert result.outputs("validation").shape == (20, 4)
    assert result.held_out == "validation"
    # The plateau has been at work: the last rates are below the schedule's.
    schedule = 0.3 * 0.5 * (1 + np.cos(np.pi * (12 - 2) / 11))
    last = [row for row in result.rows if row["split"] == "train"][-1]["learning_rate"]
    assert 0 < last < 0.51 * schedule


def test_a_seed_decides_everything(whole: tuple[Path, Result], tmp_path: Path) -> None:
    assert_same(tmp_path / "again", run(tmp_path / "again"), *whole)
    other = run(tmp_path / "other", seed=6)
    assert other.rows != whole[1].rows


@pytest.mark.parametrize("stop", [1, 3, 4, 7])
def test_a_stopped_and_resumed_run_is_the_uninterrupted_one(
    whole: tuple[Path, Result], tmp_path: Path, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # "cnn_jax.training.train" is the function, so the module is found by its name.
    module = sys.modules[train.__module__]
    with monkeypatch.context() as patch:
        patch.setattr(module, "stop_signals", lambda: nullcontext(StopAt(stop)))
        patch.setattr(sys.modules["cnn_jax.training.loop"], "CHUNK_SECONDS", 0.0)
        with pytest.raises(Interrupted, match=f"stopped at step {stop} of 13; the state is saved"):
            run(tmp_path)
    assert (tmp_path / "checkpoints" / str(stop)).is_dir()
    assert_same(tmp_path, run(tmp_path), *whole)


def test_a_finished_run_only_tells_its_result_again(
    whole: tuple[Path, Result], tmp_path: Path
) -> None:
    first = run(tmp_path)
    text = (tmp_path / "metrics.csv").read_bytes()
    second = run(tmp_path)
    assert second.summary == first.summary | {"train_seconds": second.summary["train_seconds"]}
    assert (tmp_path / "metrics.csv").read_bytes() == text


def test_resumed_on_one_device_it_is_the_same_to_float_tolerance(
    whole: tuple[Path, Result], tmp_path: Path
) -> None:
    # Of a run without schedule, whose shorter form is its beginning.
    constant = replace(EXPERIMENT, optimizer=OptimizerConfig(learning_rate=0.05))
    short = replace(constant, training=replace(constant.training, duration="4 steps"))
    longer = replace(constant, training=replace(constant.training, duration="8 steps"))
    run(tmp_path / "parts", short)
    parts = run(tmp_path / "parts", longer, one_device())
    once = run(tmp_path / "once", longer)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
        parts.variables,
        once.variables,
    )


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    too_fast = replace(EXPERIMENT, optimizer=OptimizerConfig(learning_rate=1e30))
    with pytest.raises(TrainingDiverged) as caught:
        run(tmp_path, too_fast)
    assert "the loss or its gradient became non-finite at step 2" in str(caught.value)
    assert "nothing was saved before" in str(caught.value)
    assert "A lower --optimizer.learning-rate, a warm-up or --optimizer.clip-norm 1" in str(
        caught.value
    )


def test_a_diverged_run_names_its_last_good_checkpoint(tmp_path: Path) -> None:
    run(tmp_path, with_training(duration="4 steps"))
    too_fast = replace(EXPERIMENT, optimizer=OptimizerConfig(learning_rate=1e30, schedule="cosine"))
    with pytest.raises(TrainingDiverged, match="last good checkpoint is step 4 in"):
        run(tmp_path, too_fast)


def test_another_models_checkpoint_is_refused(tmp_path: Path) -> None:
    run(tmp_path, with_training(duration="3 steps"))
    with pytest.raises(CheckpointMismatch, match="missing     state/opt_state"):
        run(tmp_path, replace(EXPERIMENT, optimizer=OptimizerConfig(name="adam")))


def test_early_stopping(tmp_path: Path) -> None:
    stopping = replace(EXPERIMENT, control=ControlConfig(stop_patience=2, min_improvement=0.9))
    result = run(tmp_path, stopping)
    step = result.summary["step"]
    assert result.summary["stopped_early"] and step < 13
    # The last two evaluations are no improvement, and nothing came after them.
    accuracies = [row["accuracy"] for row in result.rows if row["split"] == "validation"]
    assert max(accuracies[-2:]) <= 1.9 * max(accuracies[:-2])
    assert len(accuracies) == step / 2
    assert (tmp_path / "checkpoints" / str(step)).is_dir()
    assert run(tmp_path, stopping).summary["step"] == step


def test_what_does_not_fit_is_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="batch size 20 cannot be divided over 8 devices"):
        run(tmp_path, with_training(batch_size=20))
    with pytest.raises(ConfigError, match="batch size 128 is larger than the 64 training examples"):
        run(tmp_path, with_training(batch_size=128))
    assert list(tmp_path.iterdir()) == []
