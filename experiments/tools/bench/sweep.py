"""Training an MLP with the learning rates of learning_rates: all at once against one by one.

An image counts once per rate. Compilation and start-up are not included; one by one they are paid
once per rate.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import jax
import numpy as np
from rich.console import Console

from cnn_jax.data import ArraySplit, Dataset
from cnn_jax.models import MLP
from cnn_jax.tasks import Classification
from cnn_jax.training import (
    Experiment,
    OptimizerConfig,
    Runner,
    TrainingConfig,
    keep_freed_memory,
    make_parallel,
    prepare_run,
    supervised,
)
from cnn_jax.training.swept import swept
from experiments.learning_rates import RATES
from experiments.tools.bench.comparison import Comparison, check_same_work, rates, timings
from experiments.tools.bench.options import Steps
from experiments.tools.bench.processes import Side, started
from experiments.tools.bench.side import RunSteps

# Hidden layers and image size: the lecture's MLP, and one small enough for overheads to count.
SHAPES: tuple[tuple[tuple[int, ...], int], ...] = (((256, 128, 100), 28), ((32,), 8))


@dataclass(frozen=True)
class Options(Steps):
    """Learning rates at once and in turn."""


def measure(options: Options, console: Console) -> Iterable[Comparison]:
    """One comparison per network."""
    batch_size = options.batch_size or 128
    learning_rates = RATES.learning_rate
    for hidden, image_size in SHAPES:
        arguments = {
            "learning_rates": learning_rates,
            "hidden": hidden,
            "image_size": image_size,
            "batch_size": batch_size,
        }
        sides = [
            Side(name, f"{__name__}:training", arguments | {"at_once": at_once})
            for name, at_once in (("at once", True), ("in turn", False))
        ]
        with started(sides, console) as processes:
            check_same_work(processes, steps=2, rtol=1e-2)
            answers = timings(processes, options.steps, options.rounds)
        values = rates(answers, len(learning_rates) * options.steps * batch_size)
        widths = "-".join(map(str, hidden))
        title = f"MLP {widths}, images of {image_size} x {image_size}, batch {batch_size}, "
        title += f"{len(learning_rates)} rates"
        yield Comparison(title, "images/s", values, details={"answers": answers})


def training(
    *,
    learning_rates: Sequence[float],
    hidden: Sequence[int],
    image_size: int,
    batch_size: int,
    at_once: bool,
) -> RunSteps:
    """Train an MLP on noise with Adam, with all rates in one step or one by one.

    The numbers are the mean losses of the steps, one per rate.
    """
    keep_freed_memory()
    rng = np.random.default_rng(0)
    count, shape = 16 * batch_size, (image_size, image_size, 1)
    images = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    labels = rng.integers(0, 10, count, dtype=np.int32)
    dataset = Dataset(
        name="noise",
        title="noise",
        splits={"train": ArraySplit({"image": images, "label": labels})},
        class_names=tuple("0123456789"),
        mean=(0.5,),
        std=(0.25,),
    )

    def runner_of(peak: float, rates: Sequence[float]) -> Runner:
        experiment = Experiment(
            dataset=dataset,
            task=Classification(MLP(tuple(hidden), 10, kernel_init="he")),
            optimizer=OptimizerConfig(name="adam", learning_rate=peak),
            training=TrainingConfig(batch_size=batch_size),
            program=(lambda one, plan: swept(supervised(one, plan), rates)) if rates else None,
        )
        _, runner = prepare_run(experiment, make_parallel("jit"), seed=0)
        return runner

    every = [(1.0, learning_rates)] if at_once else [(rate, ()) for rate in learning_rates]
    runners = [runner_of(peak, rates) for peak, rates in every]
    states = [runner.init() for runner in runners]
    zeros = jax.tree.map(np.asarray, runners[0].zero_sums(states[0]))

    def run(n: int) -> list[float]:
        losses: list[float] = []
        for i, (runner, state) in enumerate(zip(runners, states, strict=True)):
            states[i], sums = runner.advance(state, runner.parallel.place(zeros), n)
            lanes = sums.get("lanes", sums)
            losses += np.atleast_1d(lanes["loss"] / lanes["weight"]).tolist()
        return losses

    return run
