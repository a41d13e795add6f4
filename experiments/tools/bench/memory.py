"""Peak memory of a training step: MiB.

On a CPU it is the peak of the process during two steps (Linux's VmHWM) minus its memory before the
first step, when data, parameters and optimizer are ready. Freed memory is returned by malloc_trim
between measurements; experiments keep it for the next step instead. On a GPU it is the peak of
JAX's or PyTorch's allocator, including data and parameters; JAX's is since the process started.
"""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from experiments.tools.bench import train_step
from experiments.tools.bench.cases import CASES
from experiments.tools.bench.comparison import Comparison, check_same_work, in_turn
from experiments.tools.bench.opponents import batch_size_of, make_sides
from experiments.tools.bench.processes import Process, started

STEPS = 2


@dataclass(frozen=True)
class Options(train_step.Options):
    """Peak memory of a training step: ours, PyTorch's and plain Flax's."""

    rounds: int = 3
    """Measurements of each side, in turn."""
    steps: int = STEPS
    """Steps per measurement."""


def measure(options: Options, console: Console) -> Iterable[Comparison]:
    """One comparison per model."""
    for model in options.models:
        case = CASES[model]
        batch_size = batch_size_of(case, options.batch_size)
        with tempfile.TemporaryDirectory(prefix="bench_") as directory:
            sides = make_sides(
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
                    rtol=train_step.tolerance(case, options.precision),
                )
                peaks = in_turn(
                    [_asking(process, options.steps) for process in processes], options.rounds
                )
        values = {process.name: row for process, row in zip(processes, peaks, strict=True)}
        title = f"peak memory: {case.title}, batch {batch_size}, {options.precision}"
        yield Comparison(title, "MiB", values, (losses,))


def _asking(process: Process, steps: int) -> Callable[[], float]:
    return lambda: process.ask({"measure": "peak", "steps": steps})["bytes"] / 2**20
