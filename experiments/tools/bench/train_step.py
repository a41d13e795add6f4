"""Training steps of the same network, data, parameters and optimizer: images per second.

Our steps run as in the loop, over uint8 data on the device. Those of PyTorch and plain Flax are
written as their users write them, over the same data. All sides share the initial parameters and
the order of examples, and the losses of the first three steps must agree.
"""

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from experiments.tools.bench.cases import AGAINST_TORCH, CASES, Case
from experiments.tools.bench.comparison import Comparison, check_same_work, rates, timings
from experiments.tools.bench.opponents import (
    DEFAULT,
    OURS,
    Opponent,
    Work,
    batch_size_of,
    make_sides,
)
from experiments.tools.bench.options import Precision, Steps
from experiments.tools.bench.processes import Process, SideMissing, started
from experiments.tools.bench.trace import lines
from experiments.tools.bench.utilization import utilization

Model = Literal[
    "cifar_resnet20",
    "cifar_airbench94",
    "resnet50",
    "vgg16",
    "mlp",
    "autoencoder",
    "unet",
    "fcn8s",
    "maskrcnn_resnet50_fpn",
    "dcgan",
]
FIRST_STEPS = 3
TOLERANCES: dict[Precision, float] = {"float32": 1e-2, "bfloat16": 5e-2}


@dataclass(frozen=True)
class Options(Steps):
    """Training steps: ours, PyTorch's and plain Flax's."""

    models: tuple[Model, ...] = ("cifar_resnet20",)
    """Networks to train, one comparison each."""
    opponents: tuple[Opponent, ...] = DEFAULT
    """Who takes part: torch_compile only on a GPU; xla, ours without oneDNN, only on a CPU."""
    precision: Precision = "float32"
    """Precision of the computation; parameters are float32, and PyTorch uses autocast."""
    trace: bool = False
    """Also list the kernels of our steps, with their times and launches; only on a GPU."""


def measure(options: Options, console: Console) -> Iterable[Comparison]:
    """One comparison per model."""
    return compare(options, "training", console)


def compare(options: Options, work: Work, console: Console) -> Iterable[Comparison]:
    """Compare rates of training or of inference, one comparison per model."""
    for model in options.models:
        case = CASES[model]
        batch_size = batch_size_of(case, options.batch_size)
        with tempfile.TemporaryDirectory(prefix="bench_") as directory:
            sides = make_sides(
                model,
                work,
                batch_size=batch_size,
                precision=options.precision,
                opponents=options.opponents,
                directory=Path(directory),
            )
            with started(sides, console) as processes:
                rtol = tolerance(case, options.precision)
                losses = check_same_work(processes, steps=FIRST_STEPS, rtol=rtol)
                answers = timings(processes, options.steps, options.rounds)
                kernels = _trace(processes[0], options.steps, console) if options.trace else {}
        title = f"{work}: {case.title}, batch {batch_size}, {options.precision}"
        values = rates(answers, options.steps * batch_size)
        notes = [losses]
        # That of a detector depends on the numbers of boxes, which differ in training.
        if case.task not in AGAINST_TORCH:
            notes.append(utilization(case, work, options.precision, values[OURS]))
        notes += lines(kernels) if kernels else []
        details = {"answers": answers, "trace": kernels}
        yield Comparison(title, "images/s", values, tuple(notes), details)


def tolerance(case: Case, precision: Precision) -> float:
    """How far the first losses may differ, as a part of the first side's largest."""
    return max(TOLERANCES[precision], case.tolerance)


def _trace(process: Process, steps: int, console: Console) -> dict[str, Any]:
    try:
        return process.ask({"measure": "trace", "steps": steps})
    except SideMissing as error:
        console.print(f"without a trace: {error}", highlight=False)
        return {}
