"""The training loop, with its chunks and rows of metrics, against the bare jitted step: images/s.

The loop gathers its batches from data on the device. The bare step is called on one batch by a
Python loop. Both crop and flip. Each measurement is a new run whose chunks grow from one step, so
--steps should take a few seconds.
"""

import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from cnn_jax.training import MetricsFile, Plan, RunLog, fit, training_metrics
from experiments.tools.bench import ours
from experiments.tools.bench.cases import CASES
from experiments.tools.bench.comparison import Comparison, added, rates, timings, warm_up
from experiments.tools.bench.opponents import PACKAGE, batch_size_of
from experiments.tools.bench.options import Steps
from experiments.tools.bench.processes import Side, started
from experiments.tools.bench.side import RunSteps
from experiments.tools.bench.train_step import Model

LOG_EVERY = 10
NEVER = 2**31


@dataclass(frozen=True)
class Options(Steps):
    """The loop and the bare step."""

    model: Model = "cifar_resnet20"
    """Network to train."""
    steps: int = 30
    """Steps per measurement."""


def measure(options: Options, console: Console) -> Iterable[Comparison]:
    """One comparison."""
    case = CASES[options.model]
    batch_size = batch_size_of(case, options.batch_size)
    arguments = {"case": asdict(case), "batch_size": batch_size, "augmented": True}
    sides = [
        Side("the loop", f"{__name__}:training", arguments),
        Side("the bare step", f"{PACKAGE}.ours:bare_step", arguments),
    ]
    with started(sides, console) as processes:
        warm_up(processes)
        answers = timings(processes, options.steps, options.rounds)
    title = f"loop and bare step: {case.title}, batch {batch_size}, crop and flip"
    comparison = Comparison(
        title,
        "images/s",
        rates(answers, options.steps * batch_size),
        details={"answers": answers},
    )
    return [added(comparison, "the loop adds to the bare step")]


def training(**arguments: Any) -> RunSteps:
    """`fit` with a row of metrics every few steps, without evaluations and checkpoints."""
    ours.set_up()
    experiment, runner, state = ours.start(**arguments)
    zeros = jax.tree.map(np.asarray, runner.zero_sums(state))
    place = runner.parallel.place
    steps_per_epoch = experiment.dataset.splits["train"].steps_per_epoch(
        experiment.training.batch_size
    )
    directory = tempfile.TemporaryDirectory(prefix="bench_loop_")
    columns = ["loss", "accuracy", *zeros["per_step"]]
    metrics = MetricsFile(Path(directory.name, "metrics.csv"), columns)

    def run(n: int) -> list[float]:
        nonlocal state
        first = int(state.step)
        plan = Plan(first + n, LOG_EVERY, NEVER, NEVER, steps_per_epoch=steps_per_epoch)
        log = RunLog(
            metrics,
            None,
            title="",
            plan=plan,
            first=first,
            training_metrics=partial(training_metrics, runner.program),
        )
        with log:
            state = fit(
                state,
                place(zeros),
                plan=plan,
                advance=runner.advance,
                evaluate=None,
                adapt=lambda state, metrics: state,
                draw=lambda step, state: None,
                place=place,
                observer=log,
                save=lambda *_: None,
                is_best=lambda metrics: False,
                stop_requested=lambda step: False,
            )
        assert metrics.path and metrics.path.exists(), directory
        return [metrics.rows[-1]["loss"]]

    return run
