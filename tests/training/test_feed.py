"""Feeds: which examples a step sees, and exact evaluation on a short last batch."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.data import ArraySplit, StreamSplit, epoch_order
from cnn_jax.errors import ConfigError
from cnn_jax.models import MLP
from cnn_jax.tasks import Classification
from cnn_jax.training import (
    EvalFeed,
    Evaluated,
    Parallel,
    TrainFeed,
    gather_over_devices,
    init_state,
)
from tests.tolerance import assert_close
from tests.training.small import ConvNet, advance, begin, blobs, dataset, make_runner, ways

WAYS = ["one device", "jit", "pmap"]
SPLIT = blobs(0, 44)


def streamed(split: ArraySplit) -> StreamSplit:
    return StreamSplit(split, np.arange(len(split)))


def recording_step(state: Any, batch: Any) -> Any:
    """A training step that leaves the batch it has seen in its sums."""
    seen = {name: batch[name] for name in ("label", "slot", "place", "weight")}
    seen["pixels"] = batch["image"].astype(jnp.int32).sum((1, 2, 3))
    return state.replace(step=state.step + 1), gather_over_devices(seen)


def seen_by(way: Parallel, split: Any, steps: list[int], first: int = 0) -> list[dict]:
    feed = TrainFeed(split, recording_step, way, batch_size=16, seed=3)
    state = init_state({}, {}, None, jax.random.key(0))
    state = way.place(state.replace(step=jnp.int32(first)))
    seen = []
    for n in steps:
        sums = {name: np.zeros(16, np.int32) for name in ("label", "slot", "place", "pixels")}
        zeros = way.place(sums | {"weight": np.zeros(16, np.float32)})
        state, sums = feed.advance(state, zeros, n)
        seen.append(jax.tree.map(np.asarray, sums))
    return seen


def expected_batch(step: int) -> dict[str, np.ndarray]:
    epoch, within = divmod(step, 2)  # 44 examples are two batches of 16, and 12 left out
    places = epoch_order(3, epoch, 44)[within * 16 : (within + 1) * 16]
    return {
        "label": SPLIT.arrays["label"][places],
        "slot": np.arange(16),
        "place": places,
        "pixels": SPLIT.arrays["image"][places].astype(np.int32).sum((1, 2, 3)),
        "weight": np.ones(16, np.float32),
    }


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stored", ["resident", "streamed"])
def test_every_step_sees_its_part_of_the_epochs_order(way: str, stored: str) -> None:
    split = SPLIT if stored == "resident" else streamed(SPLIT)
    for step, seen in enumerate(seen_by(ways()[way], split, [1] * 5)):
        assert_close(seen, expected_batch(step), rtol=0, atol=0)


@pytest.mark.parametrize("stored", ["resident", "streamed"])
def test_a_resumed_feed_goes_on_within_the_epoch(stored: str) -> None:
    split = SPLIT if stored == "resident" else streamed(SPLIT)
    (seen,) = seen_by(ways()["jit"], split, [3], first=3)
    batches = [expected_batch(step) for step in (3, 4, 5)]
    total = {name: sum(batch[name] for batch in batches) for name in batches[0]}
    assert_close(seen, total, rtol=0, atol=0)


def test_a_batch_larger_than_the_split() -> None:
    with pytest.raises(ConfigError, match="batch size 48 is larger than the 44 .* 44 or less"):
        TrainFeed(SPLIT, recording_step, ways()["jit"], batch_size=48, seed=0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stored", ["resident", "streamed"])
@pytest.mark.parametrize("batch_size", [16, 500])
def test_evaluation_is_exact_on_a_short_last_batch(way: str, stored: str, batch_size: int) -> None:
    parallel, task = ways()[way], Classification(ConvNet())
    runner = make_runner(parallel, task, dataset())
    state = begin(runner)
    feed = EvalFeed(
        SPLIT if stored == "resident" else streamed(SPLIT), parallel, batch_size=batch_size
    )

    def evaluate(state: Any, batch: Any, carry: Any) -> Evaluated:
        sums = runner.program.evaluate(state, batch, carry).sums
        return Evaluated(sums, {"logits": runner.program.predict(state, batch)})

    totals, rows = feed.compile(evaluate)(state, None)

    images, labels = SPLIT.arrays["image"], SPLIT.arrays["label"]
    variables = jax.device_get({"params": state.params, **state.model_state})
    variables = jax.tree.map(jnp.asarray, variables)
    logits = np.asarray(
        task.model.apply(variables, jnp.asarray((images / 255 - 0.5) / 0.25)), np.float64
    )
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert totals["weight"] == 44
    assert totals["correct"] == (logits.argmax(axis=1) == labels).sum()
    assert totals["loss"] == pytest.approx(-log_p[np.arange(44), labels].sum(), rel=1e-5)
    assert_close(rows["logits"], logits, rtol=1e-5)


@pytest.mark.parametrize("mode", WAYS)
def test_one_example_a_device_is_a_batch_for_batch_norm(mode: str) -> None:
    task = Classification(MLP(hidden=(4,), num_classes=4, norm="batch"))
    _, sums = advance(ways()[mode], task, dataset(), 2, batch_size=8)
    assert sums["weight"] == 16
