"""Checkpoints come back to the bit, the best and the latest two stay, others are refused."""

import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.errors import UserError
from cnn_jax.models import MLP
from cnn_jax.tasks import Classification
from cnn_jax.training import (
    CheckpointMismatch,
    Checkpoints,
    Parallel,
    evaluated_params,
    make_parallel,
)
from tests.training.small import ConvNet, begin, dataset, make_runner, one_device, ways

TASK = Classification(ConvNet())


def fresh(parallel: Parallel, seed: int = 0, ema: bool = True) -> Any:
    runner = make_runner(parallel, TASK, dataset(), seed=seed, ema_decay=0.9 if ema else 0.0)
    return begin(runner)


def host(tree: Any) -> list[np.ndarray]:
    def words(leaf: Any) -> np.ndarray:
        typed = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if typed else leaf)

    return [words(leaf) for leaf in jax.tree.leaves(tree)]


def assert_equal(actual: Any, expected: Any) -> None:
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(host(actual), host(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("there", ["one device", "jit"])
def test_a_state_comes_back_to_the_bit_on_any_number_of_devices(tmp_path: Path, there: str) -> None:
    saved = fresh(one_device(), seed=1)
    checkpoints = Checkpoints(tmp_path, best_metric="accuracy")
    assert checkpoints.latest_step() is None
    checkpoints.save(7, {"state": saved, "seconds": jnp.float32(1.5)})
    checkpoints.close()

    again = Checkpoints(tmp_path, best_metric="accuracy")
    parallel = ways()[there]
    target = parallel.place({"state": fresh(parallel), "seconds": np.float32(0)})
    restored = again.restore(again.latest_step(), target)
    again.close()
    assert_equal(restored["state"], saved)
    assert float(restored["seconds"]) == 1.5
    assert jnp.issubdtype(restored["state"].key.dtype, jax.dtypes.prng_key)
    for leaf, wanted in zip(jax.tree.leaves(restored), jax.tree.leaves(target), strict=True):
        assert leaf.sharding.is_equivalent_to(wanted.sharding, leaf.ndim)


def test_from_eight_devices_on_one(tmp_path: Path) -> None:
    saved = fresh(make_parallel("jit"), seed=1)
    checkpoints = Checkpoints(tmp_path, best_metric="accuracy")
    checkpoints.save(1, saved)
    checkpoints.wait()
    restored = checkpoints.restore(1, fresh(one_device()))
    checkpoints.close()
    assert_equal(restored, saved)
    assert all(len(leaf.devices()) == 1 for leaf in jax.tree.leaves(restored))


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_resumed_from_jit_under_pmap_only_dropouts_masks_differ(
    tmp_path: Path, dropout: float
) -> None:
    task = Classification(MLP(hidden=(32,), num_classes=4, dropout=dropout))

    def two_steps(way: Parallel, state: Any) -> Any:
        runner = make_runner(way, task, dataset())
        return runner.advance(state, runner.zero_sums(state), 2)[0]

    with jax.enable_x64(True):
        jit, pmap = make_parallel("jit"), make_parallel("pmap")
        saved = two_steps(jit, begin(make_runner(jit, task, dataset())))
        checkpoints = Checkpoints(tmp_path, best_metric="accuracy")
        checkpoints.save(2, saved)
        checkpoints.wait()
        kernels = []
        for way in (jit, pmap, pmap):
            restored = checkpoints.restore(2, way.place(begin(make_runner(way, task, dataset()))))
            assert_equal(restored, saved)
            state = two_steps(way, restored)
            assert int(state.step) == 4
            kernels.append(np.asarray(state.params["head"]["kernel"]))
        checkpoints.close()
    difference = np.max(np.abs(kernels[1] - kernels[0]))
    assert difference > 1e-3 if dropout else difference < 1e-9
    np.testing.assert_array_equal(kernels[2], kernels[1])  # they are a function of the seed


def test_the_best_and_the_latest_two_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, best_metric="accuracy")
    accuracy = {1: 0.5, 2: 0.9, 3: 0.7, 5: 0.8, 6: 0.1}
    for step in range(1, 7):
        metrics = {"loss": 1.0, "accuracy": accuracy[step]} if step in accuracy else None
        checkpoints.save(step, {"w": jnp.full(3, step)}, metrics)
        if step == 4:
            # A run is often continued: another process knows the best one from the disk.
            checkpoints.close()
            checkpoints = Checkpoints(tmp_path, best_metric="accuracy")
    checkpoints.wait()
    assert checkpoints.latest_step() == 6
    assert checkpoints.best_step() == 2
    assert sorted(int(p.name) for p in tmp_path.iterdir() if p.name.isdigit()) == [2, 5, 6]
    best = checkpoints.restore(2, {"w": jnp.zeros(3, int)})
    checkpoints.close()
    np.testing.assert_array_equal(best["w"], [2, 2, 2])


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names of open files are in /proc")
def test_a_checkpoint_is_on_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, missing = set(), []
    fsync, replace, rename = os.fsync, os.replace, Path.rename

    def syncing(descriptor: int) -> None:
        synced.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def replacing(source: Path, target: Path) -> None:
        if str(source) in synced:
            synced.add(str(target))
        replace(source, target)

    def renaming(path: Path, target: Path) -> Path:
        if path.name == "1.unfinished":
            missing.append([str(one) for one in (path, *path.rglob("*")) if str(one) not in synced])
            synced.discard(str(path.parent))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(os, "replace", replacing)
    monkeypatch.setattr(Path, "rename", renaming)
    checkpoints = Checkpoints(tmp_path, best_metric="accuracy")
    checkpoints.save(1, {"w": jnp.ones(3)}, {"accuracy": 0.5}, {"metrics.csv": "step\n"})
    checkpoints.close()
    assert missing == [[]]  # of the one renaming
    assert str(tmp_path) in synced  # after it


def test_training_may_consume_what_is_being_saved(tmp_path: Path) -> None:
    parallel = make_parallel("jit")
    runner = make_runner(parallel, TASK, dataset())
    state = begin(runner)
    sums = runner.zero_sums(state)
    checkpoints = Checkpoints(tmp_path, best_metric="accuracy")
    expected = []
    for step in range(1, 6):
        state, sums = runner.advance(state, sums, 1)
        expected = [*expected, host(state)][-2:]
        checkpoints.save(step, state)
        state, sums = runner.advance(state, sums, 1)
    checkpoints.wait()
    for step, wanted in zip((4, 5), expected, strict=True):
        restored = checkpoints.restore(step, fresh(parallel, ema=False))
        for a, b in zip(host(restored), wanted, strict=True):
            np.testing.assert_array_equal(a, b)
    checkpoints.close()


def test_another_model_is_refused_with_everything_that_differs(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, best_metric="accuracy")
    checkpoints.save(
        3, {"body": {"old": jnp.zeros(2), "same": jnp.zeros(1)}, "w": jnp.ones((2, 3))}
    )
    checkpoints.wait()
    target = {"body": {"new": jnp.zeros(4), "same": jnp.zeros(1)}, "w": jnp.zeros((2, 4))}
    with pytest.raises(CheckpointMismatch) as caught:
        checkpoints.restore(3, target)
    checkpoints.close()
    assert str(caught.value) == (
        f"the checkpoint {tmp_path.resolve() / '3'} belongs to another model or optimizer; "
        "nothing was loaded:\n"
        "  missing     body/new (4,)\n"
        "  unexpected  body/old (2,)\n"
        "  shape       w: saved (2, 3), wanted (2, 4)"
    )
    assert float(target["w"].sum()) == 0


def test_a_long_list_of_differences_is_cut(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, best_metric="accuracy")
    checkpoints.save(1, {f"w{i:02}": jnp.zeros(1) for i in range(30)})
    checkpoints.wait()
    with pytest.raises(CheckpointMismatch, match="… and 11 more$"):
        checkpoints.restore(1, {"new": jnp.zeros(1)})
    checkpoints.close()


@pytest.mark.parametrize("ema", [True, False])
def test_variables_are_those_of_evaluations_on_one_device(tmp_path: Path, ema: bool) -> None:
    state = fresh(make_parallel("jit"), ema=ema)
    if ema:
        state = state.replace(ema=jax.tree.map(lambda leaf: leaf + 1, state.params))
    checkpoints = Checkpoints(tmp_path, best_metric="accuracy")
    checkpoints.save(3, {"state": state, "sums": {"loss": jnp.zeros(())}})
    checkpoints.wait()
    found = checkpoints.variables(3)
    checkpoints.close()
    assert_equal(found, {"params": evaluated_params(state), **state.model_state})
    assert {len(leaf.devices()) for leaf in jax.tree.leaves(found)} == {1}


def test_an_average_of_some_parts_and_no_model_state(tmp_path: Path) -> None:
    params = {"generator": {"kernel": jnp.zeros(2)}, "discriminator": {"kernel": jnp.ones(3)}}
    average = {"generator": {"kernel": jnp.full(2, 0.5, jnp.bfloat16)}}
    state = {"params": params, "model_state": {}, "ema": average, "opt_state": jnp.zeros(9)}
    checkpoints = Checkpoints(tmp_path, best_metric="loss")
    checkpoints.save(1, {"state": state})
    checkpoints.wait()
    assert_equal(checkpoints.variables(1), {"params": params | average})
    checkpoints.close()


@pytest.mark.parametrize("higher", [True, False])
def test_the_earliest_of_equals_is_the_best_and_what_is_not_finite_never_is(
    tmp_path: Path, higher: bool
) -> None:
    def opened() -> Checkpoints:
        return Checkpoints(tmp_path, best_metric="score", higher_is_better=higher)

    sign = 1.0 if higher else -1.0
    checkpoints = opened()
    scores = [float("nan"), -2.0, -1.0, float("nan"), -1.0, -sign * float("inf"), -3.0]
    for step, score in enumerate(scores, 1):
        metrics = {"score": sign * score}
        assert checkpoints.is_best(metrics) == (step in (2, 3))
        checkpoints.save(step, {"w": jnp.full(3, step)}, metrics)
        if step == 5:
            checkpoints.close()
            checkpoints = opened()
    checkpoints.wait()
    assert checkpoints.best_step() == 3
    assert checkpoints.steps() == [3, 6, 7]
    checkpoints.close()
    again = opened()
    assert again.best_step() == 3
    assert not again.is_best({"score": sign * -1.0}) and again.is_best({"score": sign * -0.9})
    again.close()


@pytest.mark.parametrize("name", ["run[1]", "a\\b", "what?", "all*"])
def test_a_path_that_is_a_pattern_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="which Orbax reads as a pattern; choose a directory"):
        Checkpoints(tmp_path / name / "checkpoints", best_metric="loss")
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run\\udcff/checkpoints': its name is not UTF-8"):
        Checkpoints(tmp_path / "run\udcff" / "checkpoints", best_metric="loss")
