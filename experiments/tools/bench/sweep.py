"""Training an MLP with the learning rates of learning_rates: all at once against one by one.

An image counts once for each rate. Compilation and start-up are not in it; one after another they
cost as many times as there are rates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax
from rich.console import Console

from cnn_jax.data import ArraySplit, Dataset
from cnn_jax.models import MLP
from cnn_jax.tasks import Classification
from cnn_jax.training import (
    OptimizerConfig,
    TrainFeed,
    init_state,
    keep_freed_memory,
    make_optimizer,
    make_parallel,
    make_preprocess,
    make_train_step,
)
from cnn_jax.training.lanes import stacked, swept_train_step
from experiments.learning_rates import RATES
from experiments.tools.bench.comparison import Comparison, check_same_work, rates, timings
from experiments.tools.bench.options import Steps
from experiments.tools.bench.processes import Program, started
from experiments.tools.bench.program import Run

# Hidden layers and image size: the lecture's MLP, and one in which overheads count.
SHAPES: tuple[tuple[tuple[int, ...], int], ...] = (((256, 128, 100), 28), ((32,), 8))


@dataclass(frozen=True)
class Options(Steps):
    """Learning rates at once and in turn."""


def measure(options: Options, console: Console) -> list[Comparison]:
    """A comparison a shape of the network."""
    batch_size, comparisons = options.batch_size or 128, []
    learning_rates = RATES.learning_rate
    for hidden, image_size in SHAPES:
        arguments = {
            "learning_rates": learning_rates,
            "hidden": hidden,
            "image_size": image_size,
            "batch_size": batch_size,
        }
        sides = [
            Program(name, f"{__name__}:training", arguments | {"at_once": at_once})
            for name, at_once in (("at once", True), ("in turn", False))
        ]
        with started(sides, console) as processes:
            check_same_work(processes, steps=2, rtol=1e-2)
            answers = timings(processes, options.steps, options.rounds)
        values = rates(answers, len(learning_rates) * options.steps * batch_size)
        widths = "-".join(map(str, hidden))
        title = f"MLP {widths}, images of {image_size} x {image_size}, batch {batch_size}, "
        title += f"{len(learning_rates)} rates"
        comparisons.append(Comparison(title, "images/s", values, details={"answers": answers}))
    return comparisons


def training(
    *,
    learning_rates: Sequence[float],
    hidden: Sequence[int],
    image_size: int,
    batch_size: int,
    at_once: bool,
) -> Run:
    """An MLP on noise by Adam, with all rates in one step or with one after another.

    Its numbers are the mean losses of the steps, one a rate.
    """
    keep_freed_memory()
    rng = np.random.default_rng(0)
    count = 16 * batch_size
    split = ArraySplit(
        {
            "image": rng.integers(0, 256, (count, image_size, image_size, 1), dtype=np.uint8),
            "label": rng.integers(0, 10, count, dtype=np.int32),
        }
    )
    dataset = Dataset(
        name="noise",
        title="noise",
        splits={"train": split},
        class_names=tuple("0123456789"),
        mean=(0.5,),
        std=(0.25,),
    )
    task = Classification(MLP(tuple(hidden), 10, kernel_init="he"))
    optimizer = make_optimizer(OptimizerConfig(name="adam"), optax.constant_schedule(1.0))
    step: Any = make_train_step(task.loss_fn, optimizer, prepare=make_preprocess(dataset))
    params, model_state = task.init(jax.random.key(0), dataset.image_shape)
    fresh = init_state(params, model_state, optimizer, jax.random.key(1))
    states: list[Any]
    if at_once:
        step, states = swept_train_step(step, learning_rates), [stacked(fresh, len(learning_rates))]
    else:
        scales = [fresh.control.replace(scale=np.float32(rate)) for rate in learning_rates]
        states = [fresh.replace(control=control) for control in scales]

    parallel = make_parallel("jit")
    feed = TrainFeed(split, step, parallel, batch_size=batch_size, seed=0)
    zeros = feed.zero_sums(states[0])
    states = [parallel.replicate(state) for state in states]

    def run(n: int) -> list[float]:
        losses: list[float] = []
        for i, state in enumerate(states):
            states[i], sums = feed.advance(state, parallel.replicate(zeros), n)
            losses += np.atleast_1d(sums["loss"] / sums["weight"]).tolist()
        return losses

    return run
