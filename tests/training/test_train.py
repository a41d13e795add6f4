"""A whole training run: stopped and resumed to the bit, a function of its seed, told to stop."""

import io
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from rich.console import Console

from cnn_jax.data import random_crop
from cnn_jax.errors import ConfigError
from cnn_jax.tasks import Classification
from cnn_jax.training import (
    CheckpointMismatch,
    Checkpoints,
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


def restoring(**changes: Any) -> Experiment:
    """With the best weights, and evaluations that are not at the times of the saves."""
    control = ControlConfig(restore_best="yes")
    experiment = with_training(save_every="13 steps", evaluate_every="3 steps", **changes)
    return replace(experiment, control=control, optimizer=OptimizerConfig(learning_rate=2.0))


def test_the_result_is_about_the_best_evaluation(tmp_path: Path) -> None:
    result = run(tmp_path, restoring())
    rows = {row["step"]: row for row in result.rows if row["split"] == "validation"}
    best = max(rows, key=lambda step: (rows[step]["accuracy"], -step))
    assert best < 13, "the example is too easy to tell the best from the last"
    assert (result.summary["weights"], result.summary["weights_step"]) == ("best", best)
    assert result.summary["step"] == 13
    for metric in ("loss", "accuracy"):
        assert result.summary["validation"][metric] == rows[best][metric]
    labels = result.experiment.dataset.splits["validation"].arrays["label"]
    correct = np.argmax(result.outputs("validation"), axis=-1) == labels
    assert np.mean(correct) == pytest.approx(rows[best]["accuracy"])
    checkpoints = Checkpoints(tmp_path / "checkpoints", best_metric="accuracy")
    assert checkpoints.best_step() == best and checkpoints.latest_step() == 13
    saved, last = checkpoints.variables(best), checkpoints.variables(13)
    checkpoints.close()
    jax.tree.map(np.testing.assert_array_equal, saved, result.variables)

    # Without the option nothing else changes, and the last weights are the result.
    ordinary = run(tmp_path / "last", replace(restoring(), control=ControlConfig()))
    assert ordinary.summary["weights"] == "last"
    jax.tree.map(np.testing.assert_array_equal, last, ordinary.variables)


def test_what_is_best_does_not_depend_on_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(tmp_path / "whole", restoring())
    module = sys.modules[train.__module__]
    with monkeypatch.context() as patch:
        patch.setattr(module, "stop_signals", lambda: nullcontext(StopAt(10)))
        patch.setattr(sys.modules["cnn_jax.training.loop"], "CHUNK_SECONDS", 0.0)
        with pytest.raises(Interrupted):
            run(tmp_path / "parts", restoring())
    parts = run(tmp_path / "parts", restoring())
    assert_same(tmp_path / "parts", parts, tmp_path / "whole", whole)
    assert parts.summary["weights_step"] == whole.summary["weights_step"]


def test_a_run_of_no_steps_evaluates_the_initial_network(tmp_path: Path) -> None:
    # Its schedule has a warm-up, which has no place in it.
    for _ in range(2):
        result = run(tmp_path, with_training(duration="0 steps"))
        assert result.summary["step"] == result.summary["weights_step"] == 0
        assert [(row["step"], row["split"]) for row in result.rows] == [(0, "validation")]
        assert result.rows[0]["accuracy"] == result.summary["validation"]["accuracy"]
    assert (tmp_path / "checkpoints" / "0").is_dir()
    # It can be trained longer, as any run.
    longer = run(tmp_path, with_training(duration="3 steps"))
    assert longer.summary["step"] == 3 and longer.rows[0] == result.rows[0]


def test_a_run_that_is_to_be_shorter_than_it_is_is_refused(tmp_path: Path) -> None:
    run(tmp_path, with_training(duration="4 steps"))
    with pytest.raises(ConfigError, match="has been trained for 4 steps, more than the 3 of"):
        run(tmp_path, with_training(duration="3 steps"))


@pytest.mark.parametrize(
    "control",
    [
        ControlConfig(stop_patience=1),
        ControlConfig(plateau_patience=1),
        ControlConfig(restore_best="yes"),
    ],
)
def test_without_a_validation_split_there_is_nothing_to_follow(
    tmp_path: Path, control: ControlConfig
) -> None:
    data = replace(EXPERIMENT.dataset, splits={"train": EXPERIMENT.dataset.splits["train"]})
    with pytest.raises(ConfigError, match="need a validation split, and blobs has only train"):
        run(tmp_path, replace(EXPERIMENT, dataset=data, control=control))
    assert list(tmp_path.iterdir()) == []


def test_what_is_said_of_an_earlier_start(tmp_path: Path) -> None:
    def shown(experiment: Experiment) -> str:
        console = Console(file=io.StringIO(), width=80)
        train(experiment, tmp_path, one_device(), seed=5, title="mine [x]", console=console)
        return console.file.getvalue()

    short = with_training(duration="4 steps")
    first = shown(short)
    assert first.startswith("mine [x]\nstep 2/4  train loss")
    assert max(map(len, first.splitlines())) <= 80
    assert shown(short) == "mine [x]: finished before, at step 4; --overwrite trains anew\n"
    again = shown(with_training(duration="6 steps"))
    assert again.startswith("mine [x]: goes on from step 4 of 6\nstep 6/6  train loss")


def test_a_damaged_checkpoint_is_set_aside_and_its_steps_are_repeated(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    run(tmp_path / "damaged")
    checkpoints = tmp_path / "damaged" / "checkpoints"
    before, last = sorted(int(path.name) for path in checkpoints.iterdir())[-2:]
    (checkpoints / str(last) / "manifest.json").write_bytes(bytes(100))
    (tmp_path / "damaged" / "metrics.csv").write_bytes(b"")
    console = Console(file=io.StringIO(), width=80)
    again = train(EXPERIMENT, tmp_path / "damaged", seed=5, console=console)
    notes = console.file.getvalue().splitlines()
    assert notes[0].startswith(f"note: the checkpoint of step {last} is damaged and was renamed")
    assert notes[0].endswith(f"the steps after {before} are repeated")
    assert notes[1].startswith("note: metrics.csv has lost or changed rows: its ")
    assert_same(tmp_path / "damaged", again, tmp_path / "whole", whole)
