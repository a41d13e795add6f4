"""Training with several learning rates at once, and one after another: the same work twice."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import optax

from cnn_jax.data import ArraySplit, Dataset
from cnn_jax.models import MLP
from cnn_jax.tasks import Classification
from cnn_jax.training import (
    OptimizerConfig,
    TrainFeed,
    init_state,
    make_optimizer,
    make_parallel,
    make_prepare,
    make_train_step,
)
from cnn_jax.training.lanes import stacked, swept_train_step

Run = Callable[[int], list[float]]
"""Makes n steps with every rate and gives the mean loss of each."""


def sweep_sides(
    rates: Sequence[float], hidden: tuple[int, ...], image_size: int, batch_size: int
) -> tuple[Run, Run]:
    """An MLP on noise of an image's shape by Adam: all rates at once, and one after another."""
    rng = np.random.default_rng(0)
    count = 16 * batch_size
    split = ArraySplit(
        rng.integers(0, 256, (count, image_size, image_size, 1), dtype=np.uint8),
        rng.integers(0, 10, count, dtype=np.int32),
    )
    dataset = Dataset(
        name="noise",
        title="noise",
        splits={"train": split},
        class_names=tuple("0123456789"),
        image_shape=(image_size, image_size, 1),
        mean=(0.5,),
        std=(0.25,),
    )
    task = Classification(MLP(hidden, 10, kernel_init="he"))
    optimizer = make_optimizer(OptimizerConfig(name="adam"), optax.constant_schedule(1.0))
    step = make_train_step(task.loss_fn, optimizer, prepare=make_prepare(dataset))
    parallel = make_parallel("jit")
    params, model_state = task.init(jax.random.key(0), dataset.image_shape)
    state = init_state(params, model_state, optimizer, jax.random.key(1))

    def side(train_step: Any, states: list[Any]) -> Run:
        feed = TrainFeed(split, train_step, parallel, batch_size=batch_size, seed=0)
        zeros = feed.zero_sums(states[0])
        states = [parallel.replicate(state) for state in states]

        def run(n: int) -> list[float]:
            losses: list[float] = []
            for i, state in enumerate(states):
                states[i], sums = feed.advance(state, parallel.replicate(zeros), n)
                losses += np.atleast_1d(sums["loss"] / sums["weight"]).tolist()
            return losses

        return run

    def with_rate(rate: float) -> Any:
        return state.replace(control=state.control.replace(scale=np.float32(rate)))

    at_once = side(swept_train_step(step, rates), [stacked(state, len(rates))])
    return at_once, side(step, [with_rate(rate) for rate in rates])
