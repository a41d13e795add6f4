"""Kill a training many times: after resuming it must equal the uninterrupted one to the bit.

    python -m experiments.tools.kill_and_resume --kills 20

A small ResNet trains on handwritten digits without interruption. A second one, started by the same
command, is killed by SIGKILL while it starts, steps, evaluates and saves, and restarted each time.
At the end all arrays of all kept checkpoints must be equal to the bit, and metrics.csv to the byte;
otherwise the exit status is 1. Only the clock, ``seconds``, is not compared.
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
from rich.table import Table

from cnn_jax.errors import check_range
from cnn_jax.training import read_metrics
from experiments.tools.console import standard_console
from experiments.tools.messages import user_errors

Moment = Literal["start-up", "step", "evaluation", "save"]

AIMS: tuple[Moment, ...] = ("save", "step", "evaluation", "save", "step", "save", "start-up")
"""What kills 1, 2, … aim at; the list is repeated."""
LOG, EVALUATE, SAVE = 3, 12, 25
"""Intervals in steps. Saves fall between rows, and a row shows when an evaluation begins."""
POLL_SECONDS = 0.001
PATIENCE_SECONDS = 600.0


@dataclass(frozen=True)
class Options:
    """How often to kill, and which training."""

    kills: int = 20
    """Number of SIGKILLs."""
    steps: int = 600
    """Length of the training; the kills are spread over it."""
    depth: int = 8
    """Layers of the residual network."""
    seed: int = 0
    """Seed of the times of the kills."""
    workdir: str = ""
    """Directory in which the two runs are kept; a temporary one by default."""
    flags: tuple[str, ...] = ()
    """Further flags for the training, such as --parallel pmap (or --deterministic on a GPU)."""

    def __post_init__(self) -> None:
        check_range(self, 0, seed=self.seed)
        check_range(self, 1, kills=self.kills, steps=self.steps)
        check_range(self, 8, depth=self.depth)


@dataclass(frozen=True)
class Kill:
    """What a SIGKILL aimed at and what it hit."""

    aim: Moment
    hit: Moment
    step: int
    """Step of the last row in metrics.csv."""


def kill_and_resume(options: Options, directory: Path) -> tuple[list[Kill], list[str]]:
    """Train twice in ``directory``, the second time with kills.

    Returns:
        The kills, and a line for each difference between the two runs.

    Raises:
        RuntimeError: the training itself failed; the message holds its last lines.
    """
    calm, killed = Training(options, directory, "calm"), Training(options, directory, "killed")
    calm.finish()
    chance = random.Random(options.seed)
    # No kill near the end: the run must not finish before all kills have happened.
    last = options.steps - 3 * SAVE
    targets = sorted(chance.randrange(1, last) for _ in range(options.kills))
    kills = [
        killed.kill(AIMS[number % len(AIMS)], target, chance)
        for number, target in enumerate(targets)
    ]
    killed.finish()
    return kills, differences(calm.directory, killed.directory)


class Training:
    """A run of resnet_cifar in its own process, observed through its files."""

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
        """Start or resume, and kill at the first such moment after step ``target``."""
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
            # Kill in the middle: a step or a save takes a few milliseconds.
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
            return False  # the process has not started training yet
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
        """Changes when a process begins to train, because it rewrites metrics.csv."""
        return self._metrics.stat().st_ino if self._metrics.exists() else 0

    def _unfinished(self) -> set[tuple[str, int]]:
        """Checkpoints that do not have their final name yet."""
        try:
            with os.scandir(self.directory / "checkpoints") as entries:
                return {(e.name, e.inode()) for e in entries if not e.name.isdigit()}
        except FileNotFoundError:
            return set()

    def _last_row(self) -> tuple[int, str]:
        """Step and split of the last complete row."""
        lines = self._metrics.read_text().split("\n")[:-1] if self._metrics.exists() else []
        if len(lines) < 2:
            return 0, ""
        step, _, split, *_ = lines[-1].split(",")
        return int(step), split

    def _failure(self, process: subprocess.Popen) -> str:
        output = "\n".join(self._output.read_text().split("\n")[-30:])
        return f"{' '.join(self._command)}\nended with status {process.poll()}:\n{output}"


def differences(calm: Path, killed: Path) -> list[str]:
    """A line for each difference between two runs: in rows, checkpoints or arrays."""
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
            lines.append(f"step {step}: arrays of one only: {sorted(ours.keys() ^ theirs.keys())}")
        lines += [
            f"step {step}: {name} differs"
            for name in sorted(ours.keys() & theirs.keys())
            if ours[name] != theirs[name]
        ]
    return lines


def _arrays(checkpoint: Path) -> dict[str, tuple]:
    """Dtype, shape and bytes of each array of a checkpoint, by name."""
    with ocp.StandardCheckpointer() as checkpointer:
        tree = checkpointer.restore(checkpoint.resolve() / "arrays")
    tree.pop("seconds")
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): _bits(leaf) for path, leaf in leaves}


def _bits(leaf: jax.Array) -> tuple:
    if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    array = np.asarray(leaf)
    return array.dtype.str, array.shape, array.tobytes()


def main(argv: Sequence[str] | None = None) -> None:
    """Kill, compare and print a table."""
    console = standard_console()
    with user_errors(console):
        options = tyro.cli(Options, description=__doc__, args=argv)
    if options.steps <= 4 * SAVE:
        raise SystemExit(f"error: more than {4 * SAVE} steps are needed")
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
        f"equal: {arrays} arrays of the last checkpoint and those of the other checkpoints to the "
        "bit, and metrics.csv to the byte"
    )


if __name__ == "__main__":
    main()
