"""The most memory that a training step needs: MiB.

On a CPU, what the process has at most during two steps (Linux's VmHWM) above what it had when data,
parameters and optimizer were ready, before the first step; freed memory is given back between, by
malloc_trim, and not kept for the next step as experiments do. On a GPU the peaks of JAX's and of
PyTorch's allocator, with data and parameters in them; JAX's is since the process began.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from experiments.tools.bench import train_step
from experiments.tools.bench.cases import CASES
from experiments.tools.bench.comparison import Comparison, check_same_work, in_turn
from experiments.tools.bench.opponents import batch_size_of, programs
from experiments.tools.bench.processes import Process, started

STEPS = 2


@dataclass(frozen=True)
class Options(train_step.Options):
    """Peak memory of a training step: ours, PyTorch's and plain Flax's."""

    rounds: int = 3
    """Measurements of each program, in turn."""
    steps: int = STEPS
    """Steps a measurement."""


def measure(options: Options, console: Console) -> list[Comparison]:
    """A comparison a model."""
    comparisons = []
    for model in options.models:
        case = CASES[model]
        batch_size = batch_size_of(case, options.batch_size)
        with tempfile.TemporaryDirectory(prefix="bench_") as directory:
            sides = programs(
                model,
                "training",
                batch_size=batch_size,
                precision=options.precision,
                opponents=options.opponents,
                directory=Path(directory),
                keep_memory=False,
            )
            with started(sides, console) as processes:
                losses = check_same_work(
                    processes,
                    steps=train_step.FIRST_STEPS,
                    rtol=train_step.TOLERANCES[options.precision],
                )
                peaks = in_turn(
                    [_asking(process, options.steps) for process in processes], options.rounds
                )
        values = {process.name: row for process, row in zip(processes, peaks, strict=True)}
        title = f"peak memory: {case.title}, batch {batch_size}, {options.precision}"
        comparisons.append(Comparison(title, "MiB", values, (losses,)))
    return comparisons


def _asking(process: Process, steps: int) -> Callable[[], float]:
    return lambda: process.ask({"measure": "peak", "steps": steps})["bytes"] / 2**20
