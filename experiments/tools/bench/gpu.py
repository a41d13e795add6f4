"""Everything worth knowing of a GPU that is at hand for some minutes, most valuable first.

    python -m experiments.bench gpu --minutes 12
    python -m experiments.bench gpu --minutes 12 --data cifar10.npz --parts resnet50 he20

Each part is a command of its own with a limit, one after another. What it prints, and what it
measures, is on disk as soon as it is there. A part that reaches its limit is stopped as a scheduler
stops it: a training saves its state, and the same command goes on.
"""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from rich.console import Console
from rich.table import Table

from cnn_jax.errors import ConfigError, check_range
from experiments.tools.bench.processes import ROOT
from experiments.tools.environment import environment
from experiments.tools.run_directory import write_json

LEAST_SECONDS = 30.0
"""A part is not begun if there is less time left."""
GRACE_SECONDS = 20.0
"""Time for a part to save its state when it is stopped; it is killed after it."""

Name = Literal[
    "resnet50", "resnet20", "speedrun", "he20", "plain20", "segmentation", "he56", "plain56"
]


@dataclass(frozen=True)
class Part:
    """A command, after `python -m experiments.`, and its limit.

    `{output}` is the folder of the results, and `{data}` the flag of the CIFAR-10 to read.
    """

    command: str
    small: str
    """Further flags that make it short, for a try on a CPU."""
    seconds: float
    """Its limit."""


def _bench(models: str, name: Name) -> str:
    return (
        f"bench train_step --models {models} --opponents torch_compile flax --trace "
        f"--output {{output}}/{name}.json"
    )


def _he(depth: int, *, residual: bool) -> str:
    plain = "" if residual else " --no-residual"
    return (
        f"resnet_cifar --recipe paper --depth {depth}{plain} {{data}} --workdir {{output}}/runs "
        "--training.evaluate-every '10 epochs' --training.save-every '20 epochs'"
    )


_FEW = "--batch-size 4 --rounds 1 --steps 1"
PARTS: dict[Name, Part] = {
    "resnet50": Part(
        _bench("resnet50 --precision bfloat16 --rounds 5 --steps 20", "resnet50"),
        f"{_FEW} --models mlp",
        300,
    ),
    "resnet20": Part(
        _bench("cifar_resnet20 --batch-size 128 --rounds 5 --steps 200", "resnet20"), _FEW, 200
    ),
    "speedrun": Part("cifar_speedrun --runs 25 {data} --workdir {output}/runs", "--smoke", 200),
    "he20": Part(_he(20, residual=True), "--smoke", 300),
    "plain20": Part(_he(20, residual=False), "--smoke", 300),
    "segmentation": Part(
        _bench("unet fcn8s --precision bfloat16 --rounds 5 --steps 10", "segmentation"),
        f"{_FEW} --models mlp",
        300,
    ),
    "he56": Part(_he(56, residual=True), "--smoke", 600),
    "plain56": Part(_he(56, residual=False), "--smoke", 600),
}


@dataclass(frozen=True)
class Options:
    """Parts in turn, within a number of minutes."""

    minutes: float = 12.0
    """Time for all parts together."""
    parts: tuple[Name, ...] = get_args(Name)
    """Parts, in this order."""
    data: str = ""
    """CIFAR-10 as an .npz file, where it is not prepared."""
    small: bool = False
    """Make each part as short as possible, on any machine, to try the commands."""
    output: str = "runs/gpu"
    """Folder of what the parts print, measure and train, and of gpu.json with their ends."""

    def __post_init__(self) -> None:
        check_range(self, 0, minutes=self.minutes)
        if not self.parts:
            raise ConfigError(f"--parts needs at least one of {', '.join(get_args(Name))}")


@dataclass(frozen=True)
class End:
    """How a part has ended."""

    part: str
    command: str
    end: str
    seconds: float


def run(options: Options, console: Console) -> list[End]:
    """Run the parts, list their ends, and write gpu.json after each."""
    output = Path(options.output).absolute()
    output.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + 60 * options.minutes
    ends: list[End] = []
    for name in options.parts:
        command = command_of(PARTS[name], options, output)
        end = End(name, shlex.join(["python", *command[1:]]), "not begun", 0.0)
        limit = min(PARTS[name].seconds, deadline - time.monotonic())
        if limit >= LEAST_SECONDS:
            with console.status(f"{name}: {limit:.0f} s at most"):
                end = _run(end, command, limit, output / f"{name}.txt")
        ends.append(end)
        write_json(output / "gpu.json", _as_json(options, ends))
        console.print(f"{name}: {end.end}, {end.seconds:.0f} s", highlight=False)
    _show(ends, output, console)
    return ends


def command_of(part: Part, options: Options, output: Path) -> list[str]:
    """The command of a part, as words."""
    data = f"--data.name {shlex.quote(str(Path(options.data).absolute()))}" if options.data else ""
    text = part.command.format(output=shlex.quote(str(output)), data=data)
    words = shlex.split(f"{text} {part.small}" if options.small else text)
    return [sys.executable, "-m", f"experiments.{words[0]}", *words[1:]]


def _run(end: End, command: Sequence[str], limit: float, log: Path) -> End:
    environ = os.environ | {"PYTHONUNBUFFERED": "1"}
    start = time.monotonic()
    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=file, stderr=file, process_group=0, env=environ
        )
        try:
            status = process.wait(limit)
            said = "whole" if status == 0 else f"failed with status {status}"
        except subprocess.TimeoutExpired:
            said = "stopped at its limit"
        finally:
            _stop(process)
    return replace(end, end=said, seconds=time.monotonic() - start)


def _stop(process: subprocess.Popen) -> None:
    """Let a process end itself, and kill what is left of it and its children."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _as_json(options: Options, ends: Sequence[End]) -> dict[str, Any]:
    return {"options": asdict(options), "parts": [asdict(end) for end in ends], **environment()}


def _show(ends: Sequence[End], output: Path, console: Console) -> None:
    table = Table(title=f"results in {output}", title_justify="left")
    for heading in ("part", "end", "seconds"):
        table.add_column(heading, justify="right" if heading == "seconds" else "left")
    for end in ends:
        table.add_row(end.part, end.end, f"{end.seconds:.0f}")
    console.print(table)
