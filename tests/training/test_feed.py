"""Feeds: which examples a step sees, and exact evaluation on a short last batch."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax.data import ArraySplit, StreamSplit, epoch_order
from cnn_jax.errors import ConfigError
from cnn_jax.models import MLP
from cnn_jax.tasks import Classification
from cnn_jax.training import (
    EvalFeed,
    Parallel,
    TrainFeed,
    init_state,
    make_eval_step,
    make_prepare,
)
from tests.tolerance import assert_close
from tests.training.small import ConvNet, advance, blobs, dataset, start, ways

WAYS = ["one device", "jit", "pmap"]
SPLIT = blobs(0, 44)


def streamed(split: ArraySplit) -> StreamSplit:
    return StreamSplit(split, np.arange(len(split)))


def recording_step(parallel: Parallel) -> Callable[..., Any]:
    """A training step that leaves the batch it has seen in its sums."""

    def step(state: Any, batch: Any) -> Any:
        def everywhere(array: Any) -> Any:
            axis = parallel.axis_name
            return jax.lax.all_gather(array, axis, tiled=True) if axis else array

        seen = {name: everywhere(batch[name]) for name in ("label", "index", "example", "weight")}
        seen["pixels"] = everywhere(batch["image"].astype(jnp.int32).sum((1, 2, 3)))
        return state.replace(step=state.step + 1), seen

    return step


def seen_by(way: Parallel, split: Any, steps: list[int], first: int = 0) -> list[dict]:
    feed = TrainFeed(split, recording_step(way), way, batch_size=16, seed=3)
    state = init_state({}, {}, optax.identity(), jax.random.key(0))
    state = way.replicate(state.replace(step=jnp.int32(first)))
    seen = []
    for n in steps:
        names = ("label", "index", "example", "pixels")
        sums = {name: np.zeros(16, np.int32) for name in names}
        zeros = way.replicate(sums | {"weight": np.zeros(16, np.float32)})
        state, sums = feed.advance(state, zeros, n)
        seen.append(jax.tree.map(np.asarray, sums))
    return seen


def expected_batch(step: int) -> dict[str, np.ndarray]:
    epoch, within = divmod(step, 2)  # 44 examples are two batches of 16, and 12 left out
    places = epoch_order(3, epoch, 44)[within * 16 : (within + 1) * 16]
    return {
        "label": SPLIT.labels[places],
        "index": np.arange(16),
        "example": places,
        "pixels": SPLIT.images[places].astype(np.int32).sum((1, 2, 3)),
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
        TrainFeed(SPLIT, lambda *_: _, ways()["jit"], batch_size=48, seed=0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stored", ["resident", "streamed"])
@pytest.mark.parametrize("batch_size", [16, 500])
def test_evaluation_is_exact_on_a_short_last_batch(way: str, stored: str, batch_size: int) -> None:
    parallel, data = ways()[way], dataset()
    task = Classification(ConvNet())
    state = start(task, data)
    split = SPLIT if stored == "resident" else streamed(SPLIT)
    prepare, axis_name = make_prepare(data), parallel.axis_name
    eval_step = make_eval_step(
        task.with_axis(axis_name).loss_fn, prepare=prepare, axis_name=axis_name
    )
    feed = EvalFeed(split, parallel, batch_size=batch_size)
    assert len(feed) == 44
    totals = feed.total(eval_step)(parallel.replicate(state))

    batch = {"image": jnp.asarray(SPLIT.images), "label": SPLIT.labels}
    variables = {"params": state.params, **state.model_state}
    logits = np.asarray(
        task.model.apply(variables, prepare(batch, state.key, False)["image"]), np.float64
    )
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert totals["weight"] == 44
    assert totals["correct"] == (logits.argmax(axis=1) == SPLIT.labels).sum()
    assert totals["loss"] == pytest.approx(-log_p[np.arange(44), SPLIT.labels].sum(), rel=1e-5)

    def predict(state: Any, batch: Any) -> Any:
        prepared = prepare(batch, state.key, False)
        return task.with_axis(axis_name).predict(state.params, state.model_state, prepared)

    parts = list(feed.compile(predict)(parallel.replicate(state)))
    assert_close(np.concatenate(parts)[:44], logits, rtol=1e-5)


@pytest.mark.parametrize("mode", WAYS)
def test_one_example_a_device_is_a_batch_for_batch_norm(mode: str) -> None:
    task = Classification(MLP(hidden=(4,), num_classes=4, norm="batch"))
    _, sums = advance(ways()[mode], task, dataset(), 2, batch_size=8)
    assert sums["weight"] == 16
