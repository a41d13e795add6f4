"""``python -m experiments.bench SUITE``: measure, print a table, write JSON.

    python -m experiments.bench train_step                  ResNet-20: ours, PyTorch, plain Flax
    python -m experiments.bench train_step --models mlp autoencoder --output out.json
    python -m experiments.bench gpu --minutes 12            what is worth knowing of a GPU, in turn
    python -m experiments.bench SUITE --help                what a suite measures, its options

Each side runs in its own process, with the same processors, and only one works at a time. Each
round runs all of them, in alternating order. Ratios are taken round by round, so that other load on
the machine affects all sides alike.
"""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Union

import tyro
from rich.console import Console

from experiments.tools.bench import (
    convolution,
    devices,
    gpu,
    inference,
    input,
    loop,
    lstm,
    max_pool,
    memory,
    startup,
    style,
    sweep,
    train_step,
    words,
)
from experiments.tools.bench.comparison import Comparison, show
from experiments.tools.console import standard_console
from experiments.tools.environment import environment
from experiments.tools.messages import user_errors
from experiments.tools.run_directory import write_json

SUITES: dict[str, ModuleType] = {
    "train_step": train_step,
    "inference": inference,
    "loop": loop,
    "input": input,
    "memory": memory,
    "devices": devices,
    "startup": startup,
    "sweep": sweep,
    "style": style,
    "convolution": convolution,
    "max_pool": max_pool,
    "lstm": lstm,
    "words": words,
}
COMMANDS = SUITES | {"gpu": gpu}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure a suite, print its tables and write its JSON file."""
    # Several processes share the memory of a GPU.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    # The opponents use one GPU.
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
    if sys.platform != "linux":
        raise SystemExit(
            "error: the benchmarks read processors and memory from Linux; run them on Linux"
        )
    console = standard_console()
    with user_errors(console):
        options = parse(argv)
    if isinstance(options, gpu.Options):
        with user_errors(console):
            gpu.run(options, console)
        return
    name = next(name for name, suite in SUITES.items() if type(options) is suite.Options)
    _say_if_busy(console)
    measure: Callable[[Any, Console], Iterable[Comparison]] = SUITES[name].measure
    comparisons = []
    with user_errors(console):
        for comparison in measure(options, console):
            show(comparison, console)
            comparisons.append(comparison)
            if options.output:
                write_json(Path(options.output), as_json(name, options, comparisons))


def _say_if_busy(console: Console) -> None:
    """Other load does not slow all sides alike: threads that wait by spinning suffer most."""
    load, processors = os.getloadavg()[0], len(os.sched_getaffinity(0))
    if load > 0.5 * processors:
        console.print(
            f"[yellow]busy:[/] the load average is {load:.1f} on {processors} processors. OpenMP's "
            "threads (PyTorch's, oneDNN's) suffer more than XLA's; wait for an idle machine or set "
            "OMP_WAIT_POLICY=passive",
            highlight=False,
            soft_wrap=True,
        )


def parse(argv: Sequence[str] | None) -> Any:
    """The `Options` of the suite that a command line names.

    Args:
        argv: the arguments; None means those of the process.
    """
    suites = tuple(
        Annotated[suite.Options, tyro.conf.subcommand(name, description=suite.__doc__)]
        for name, suite in COMMANDS.items()
    )
    command: Any = Union[suites]  # noqa: UP007
    return tyro.cli(
        command,
        prog="python -m experiments.bench",
        description=__doc__,
        args=argv,
    )


def as_json(suite: str, options: Any, comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """The contents of the JSON file."""
    written = {
        "suite": suite,
        "options": asdict(options),
        "comparisons": [comparison.as_json() for comparison in comparisons],
        "processors": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        **environment(),
    }
    if any("PyTorch" in name for comparison in comparisons for name in comparison.values):
        written["versions"]["torch"] = metadata.version("torch")
    return written
