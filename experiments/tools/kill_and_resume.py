"""Kill a training again and again: resumed, it must be the uninterrupted one to the bit.

    python -m experiments.tools.kill_and_resume --kills 20

A small ResNet trains on handwritten digits once in peace. A second one, from the same command, is
killed by SIGKILL while it starts, steps, evaluates and saves, and started again each time. At the
end all arrays of all checkpoints that are kept must be equal to the bit and metrics.csv to the
byte; otherwise the exit status is 1. The clock, ``seconds``, is the one thing not compared.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax
import numpy as np
import orbax.checkpoint as ocp
import tyro
from rich.console import Console
from rich.table import Table

from cnn_jax.training import read_metrics

Moment = Literal["start-up", "step", "evaluation", "save"]

AIMS: tuple[Moment, ...] = ("save", "step", "evaluation", "save", "step", "save", "start-up")
"""What kill 1, 2, … aims at, over and over."""
LOG, EVALUATE, SAVE = 3, 12, 25
"""Distances in steps: saves fall between rows, and a row tells when an evaluation begins."""
POLL_SECONDS = 0.001
PATIENCE_SECONDS = 600.0


@dataclass(frozen=True)
class Options:
    """How often to kill what."""

    kills: int = 20
    """Number of SIGKILLs."""
    steps: int = 600
    """Length of the training; the kills are spread over it."""
    depth: int = 8
    """Layers of the residual network."""
    seed: int = 0
    """Decides where the kills fall."""
    workdir: str = ""
    """Where the two runs are written, and kept; by default a temporary directory."""
    flags: tuple[str, ...] = ()
    """Further flags for the training, such as --parallel pmap (or --deterministic on a GPU)."""


@dataclass(frozen=True)
class Kill:
    """What one SIGKILL aimed at and hit."""

    aim: Moment
    hit: Moment
    step: int
    """Step of the last row in metrics.csv."""


def kill_and_resume(options: Options, directory: Path) -> tuple[list[Kill], list[str]]:
    """Train twice below ``directory``, the second time with kills.

    Returns:
        The kills, and lines that name every difference between the two runs.

    Raises:
        RuntimeError: the training failed by itself; its last lines are shown.
    """
    calm, killed = Training(options, directory, "calm"), Training(options, directory, "killed")
    calm.finish()
    chance = random.Random(options.seed)
    # The last saves are left out: the run must not end before its kills are spent.
    last = options.steps - 3 * SAVE
    targets = sorted(chance.randrange(1, last) for _ in range(options.kills))
    kills = [
        killed.kill(AIMS[number % len(AIMS)], target, chance)
        for number, target in enumerate(targets)
    ]
    killed.finish()
    return kills, differences(calm.directory, killed.directory)


class Training:
    """One run of resnet_cifar in a process of its own, seen from outside by its files."""

    def __init__(self, options: Options, workdir: Path, name: str) -> None:
        self.directory = workdir / "resnet_cifar" / name
        self._metrics = self.directory / "metrics.csv"
        self._output = workdir / f"{name}.txt"
        self._command = [
            *(sys.executable, "-m", "experiments.resnet_cifar"),
            *("--workdir", str(workdir), "--name", name, "--data.name", "digits"),
            *("--depth", str(options.depth)),
            *("--training.batch-size", "64", "--training.eval-batch-size", "16"),
            *("--training.duration", f"{options.steps} steps"),
            *("--training.log-every", f"{LOG} steps"),
            *("--training.evaluate-every", f"{EVALUATE} steps"),
            *("--training.save-every", f"{SAVE} steps"),
            *options.flags,
        ]

    def finish(self) -> None:
        """Run to the end."""
        process = self._start()
        if process.wait():
            raise RuntimeError(self._failure(process))

    def kill(self, aim: Moment, target: int, chance: random.Random) -> Kill:
        """Start, or go on, and kill at the first such moment after step ``target``."""
        rewritten, unfinished = self._rewritten(), self._unfinished()
        process = self._start()
        if aim == "start-up":
            time.sleep(chance.uniform(0.2, 4.0))
        else:
            started = time.monotonic()
            while not self._is_now(aim, target, rewritten, unfinished):
                if process.poll() is not None or time.monotonic() - started > PATIENCE_SECONDS:
                    process.kill()
                    raise RuntimeError(self._failure(process))
                time.sleep(POLL_SECONDS)
            # Into the middle of it: a step or a save takes some milliseconds.
            time.sleep(chance.uniform(0.0, 0.05 if aim == "step" else 0.004))
        process.kill()
        process.wait()
        return Kill(aim, self._hit(rewritten, unfinished), self._last_row()[0])

    def _start(self) -> subprocess.Popen:
        with self._output.open("a") as output:
            return subprocess.Popen(
                self._command,
                cwd=Path(__file__).resolve().parents[2],
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def _is_now(
        self, aim: Moment, target: int, rewritten: int, unfinished: set[tuple[str, int]]
    ) -> bool:
        if self._rewritten() == rewritten:
            return False  # the process has not come to its training yet
        step, split = self._last_row()
        if step < target:
            return False
        saving = bool(self._unfinished() - unfinished)
        if aim == "save" or saving:
            return aim == "save" and saving
        if aim == "evaluation":
            return step % EVALUATE == 0 and split == "train"
        return True

    def _hit(self, rewritten: int, unfinished: set[tuple[str, int]]) -> Moment:
        if self._rewritten() == rewritten:
            return "start-up"
        if self._unfinished() - unfinished:
            return "save"
        step, split = self._last_row()
        return "evaluation" if step and step % EVALUATE == 0 and split == "train" else "step"

    def _rewritten(self) -> int:
        """Changes when a process begins to train: it writes metrics.csv anew."""
        return self._metrics.stat().st_ino if self._metrics.exists() else 0

    def _unfinished(self) -> set[tuple[str, int]]:
        """Checkpoints that have not got their final name yet."""
        try:
            with os.scandir(self.directory / "checkpoints") as entries:
                return {(e.name, e.inode()) for e in entries if not e.name.isdigit()}
        except FileNotFoundError:
            return set()

    def _last_row(self) -> tuple[int, str]:
        """Step and split of the last row that is written whole."""
        lines = self._metrics.read_text().split("\n")[:-1] if self._metrics.exists() else []
        if len(lines) < 2:
            return 0, ""
        step, _, split, *_ = lines[-1].split(",")
        return int(step), split

    def _failure(self, process: subprocess.Popen) -> str:
        output = "\n".join(self._output.read_text().split("\n")[-30:])
        return f"{' '.join(self._command)}\nended with status {process.poll()}:\n{output}"


def differences(calm: Path, killed: Path) -> list[str]:
    """Lines that name what differs between two runs: rows, checkpoints, arrays."""
    lines = []
    if (calm / "metrics.csv").read_bytes() != (killed / "metrics.csv").read_bytes():
        rows = [read_metrics(run / "metrics.csv") for run in (calm, killed)]
        first = next((a["step"] for a, b in zip(*rows, strict=False) if a != b), "the end")
        lines.append(f"metrics.csv: {len(rows[0])} and {len(rows[1])} rows, differ from {first}")
    steps = [
        sorted(int(p.name) for p in (r / "checkpoints").glob("[0-9]*") if p.name.isdigit())
        for r in (calm, killed)
    ]
    if steps[0] != steps[1]:
        lines.append(f"checkpoints: of steps {steps[0]} and of steps {steps[1]}")
    for step in sorted(set(steps[0]) & set(steps[1])):
        ours, theirs = (_arrays(run / "checkpoints" / str(step)) for run in (calm, killed))
        if ours.keys() != theirs.keys():
            lines.append(f"step {step}: not the same arrays: {sorted(ours.keys() ^ theirs.keys())}")
        lines += [
            f"step {step}: {name} differs"
            for name in sorted(ours.keys() & theirs.keys())
            if ours[name] != theirs[name]
        ]
    return lines


def _arrays(checkpoint: Path) -> dict[str, tuple]:
    """Type, shape and bytes of every array of a checkpoint, by name."""
    with ocp.StandardCheckpointer() as checkpointer:
        tree = checkpointer.restore(checkpoint.resolve() / "default")
    tree.pop("seconds")
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): _bits(leaf) for path, leaf in leaves}


def _bits(leaf: jax.Array) -> tuple:
    if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    array = np.asarray(leaf)
    return array.dtype.str, array.shape, array.tobytes()


def main(argv: Sequence[str] | None = None) -> None:
    """Kill, compare, print a table."""
    options = tyro.cli(Options, description=__doc__, args=argv)
    if options.kills < 1 or options.steps <= 4 * SAVE:
        raise SystemExit(f"error: at least 1 kill and more than {4 * SAVE} steps are needed")
    console = Console()
    with tempfile.TemporaryDirectory(prefix="kill_and_resume_") as temporary:
        directory = Path(options.workdir or temporary).resolve()
        directory.mkdir(parents=True, exist_ok=True)
        kills, lines = kill_and_resume(options, directory)
        arrays = len(
            _arrays(directory / "resnet_cifar" / "killed" / "checkpoints" / str(options.steps))
        )
    table = Table(title=f"{options.kills} kills in {options.steps} steps", title_justify="left")
    for heading in ("kill", "aimed at", "hit", "last row: step"):
        table.add_column(heading)
    for number, kill in enumerate(kills, start=1):
        table.add_row(str(number), kill.aim, kill.hit, str(kill.step))
    console.print(table)
    hits = Counter(kill.hit for kill in kills)
    console.print("hit: " + ", ".join(f"{count} x {moment}" for moment, count in hits.items()))
    if lines:
        console.print("\n".join(["the two runs differ:", *lines]), markup=False)
        raise SystemExit(1)
    console.print(
        f"equal: {arrays} arrays of the last checkpoint to the bit, the checkpoints "
        "beside it too, and metrics.csv to the byte"
    )


if __name__ == "__main__":
    main()
