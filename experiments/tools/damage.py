"""Damage each file of a run in each way, load it and resume it: nothing may go wrong silently.

    python -m experiments.tools.damage

A small perceptron trains on handwritten digits. Then each file of its directory is damaged in each
of seven ways, each time in a fresh copy, which is loaded by `cnn_jax.load_run` and resumed by the
same command. An attempt ends in one of these ways:

    as it was    the same network and, after resuming, the same rows, to the bit
    said         another whole checkpoint is loaded, with a warning
    refused      one message
    silent       another network or other rows, without a word; or `load_run` has changed a file
    traceback    an error that is not for users
    hang         no end within two minutes

With any of the last three the exit status is 1.
"""

import io
import random
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import tyro
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from cnn_jax import load_run
from cnn_jax.data import DataConfig, load_dataset
from cnn_jax.errors import UserError, check_range
from cnn_jax.models import MLP
from cnn_jax.pretrained import Network
from cnn_jax.tasks import Classification
from cnn_jax.training import (
    ControlConfig,
    Experiment,
    OptimizerConfig,
    Result,
    TrainingConfig,
)
from experiments.tools.run import run

End = Literal["as it was", "said", "refused", "silent", "traceback", "hang"]
Action = Literal["load_run", "resume"]
BAD: tuple[End, ...] = ("silent", "traceback", "hang")
ENDS: tuple[End, ...] = ("as it was", "said", "refused", *BAD)
PATIENCE_SECONDS = 120


@dataclass(frozen=True)
class Config:
    """The training that is damaged: its last steps are not its best."""

    hidden: tuple[int, ...] = (8,)
    data: DataConfig = field(default_factory=lambda: DataConfig(name="digits"))
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=0.5))
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            "12 steps", 64, evaluate_every="4 steps", save_every="3 steps"
        )
    )
    control: ControlConfig = field(default_factory=ControlConfig)

    def __post_init__(self) -> None:
        check_range(self, 1, hidden=self.hidden)


def build(config: Config) -> Experiment:
    """The training, with one figure, which costs little."""
    dataset = load_dataset(config.data, default="digits")
    return Experiment(
        dataset,
        Classification(MLP(config.hidden, dataset.num_classes)),
        config.optimizer,
        config.training,
        config.control,
        figures={"square": lambda result: Figure((1, 1))},
    )


@dataclass(frozen=True)
class Options:
    """Which damage."""

    kinds: tuple[str, ...] = ()
    """Kinds of damage; all by default."""
    files: str = "*"
    """Pattern of the files that are damaged, as paths in the run's directory."""
    seed: int = 0
    """Seed of the random bytes and of the places of flipped bits."""

    def __post_init__(self) -> None:
        check_range(self, 0, seed=self.seed)


@dataclass(frozen=True)
class Attempt:
    """What came of one damaged file."""

    file: str
    kind: str
    action: Action
    end: End
    message: str


def _removed(path: Path, chance: random.Random) -> None:
    path.unlink()


def _empty(path: Path, chance: random.Random) -> None:
    path.write_bytes(b"")


def _cut(path: Path, chance: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _zeros(path: Path, chance: random.Random) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _noise(path: Path, chance: random.Random) -> None:
    path.write_bytes(chance.randbytes(path.stat().st_size))


def _bit(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def _directory(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.mkdir()


KINDS: dict[str, Callable[[Path, random.Random], None]] = {
    "removed": _removed,
    "empty": _empty,
    "cut in half": _cut,
    "zeros": _zeros,
    "random bytes": _noise,
    "one bit flipped": _bit,
    "a directory": _directory,
}


def attack(options: Options, folder: Path) -> list[Attempt]:
    """Train in ``folder``, damage copies, load and resume them."""
    calm = folder / "calm"
    result, network = _train(calm), load_run(_run(calm))
    attempts = []
    actions: dict[Action, Callable[..., tuple[End, str]]] = {
        "load_run": partial(_load, network),
        "resume": partial(_resume, result, (_run(calm) / "metrics.csv").read_bytes()),
    }
    chance = random.Random(options.seed)
    files = [path.relative_to(_run(calm)) for path in sorted(_run(calm).rglob("*"))]
    files = [one for one in files if (_run(calm) / one).is_file() and one.match(options.files)]
    for file in files:
        for kind in options.kinds or KINDS:
            copy = folder / "copy"
            shutil.copytree(calm, copy)
            KINDS[kind](_run(copy) / file, chance)
            for action, attempt in actions.items():
                end, message = _end(partial(attempt, copy))
                attempts.append(Attempt(str(file), kind, action, end, message))
            shutil.rmtree(copy)
    return attempts


def _run(workdir: Path) -> Path:
    return workdir / "damage" / "run"


def _train(workdir: Path) -> Result:
    """The result of the command, whose output is not shown; its message if it is refused."""
    argv = ["--workdir", str(workdir), "--name", "run", "--parallel", "jit"]
    output = io.StringIO()
    try:
        with redirect_stdout(output):
            return run(Config, build, argv=argv)[""]
    except SystemExit as end:
        if end.code != 2:  # not refused, but asked to stop
            raise
        raise UserError(output.getvalue()) from None


def _load(expected: Network, copy: Path) -> tuple[End, str]:
    before = _contents(copy)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        network = load_run(_run(copy))
    if _contents(copy) != before:
        return "silent", "load_run has changed a file"
    about = [(one.class_names, one.preprocessing, one.task) for one in (network, expected)]
    if about[0] == about[1] and _equal(network.variables, expected.variables):
        return "as it was", ""
    said = "; ".join(str(one.message) for one in caught)
    return ("said", said) if said and about[0] == about[1] else ("silent", network.title)


def _resume(expected: Result, rows: bytes, copy: Path) -> tuple[End, str]:
    resumed = _train(copy)
    if not _equal(resumed.variables, expected.variables):
        return "silent", "the network differs"
    if (_run(copy) / "metrics.csv").read_bytes() != rows:
        return "silent", "metrics.csv differs"
    return "as it was", ""


def _end(attempt: Callable[[], tuple[End, str]]) -> tuple[End, str]:
    try:
        with _patience():
            return attempt()
    except UserError as error:
        return "refused", str(error)
    except TimeoutError as error:
        return "hang", str(error)
    except Exception:
        return "traceback", traceback.format_exc()


@contextmanager
def _patience() -> Iterator[None]:
    def give_up(*_: Any) -> None:
        raise TimeoutError(f"no end within {PATIENCE_SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def _equal(ours: Any, theirs: Any) -> bool:
    try:
        return jax.tree.all(jax.tree.map(np.array_equal, ours, theirs))
    except ValueError:  # of other names
        return False


def kind_of_file(file: str) -> str:
    """The row of the table that a file belongs to."""
    parts = Path(file).parts
    if parts[0] != "checkpoints":
        return "figures" if parts[0] == "figures" else file
    return "checkpoints: arrays" if parts[2] == "arrays" else f"checkpoints: {parts[2]}"


def table(attempts: Sequence[Attempt]) -> Table:
    """Attempts by file and end; two numbers are load_run's and those of resuming."""
    counts: Counter[tuple[str, str, End]] = Counter()
    for one in attempts:
        for row in (kind_of_file(one.file), "all"):
            counts[row, one.action, one.end] += 1
    shown = Table(title="load_run + resume", title_justify="left")
    shown.add_column("file")
    for end in ENDS:
        shown.add_column(end, justify="right")
    for row in dict.fromkeys([*(kind_of_file(one.file) for one in attempts), "all"]):
        cells = (f"{counts[row, 'load_run', end]} + {counts[row, 'resume', end]}" for end in ENDS)
        shown.add_row(row, *cells)
    return shown


def main(argv: Sequence[str] | None = None) -> None:
    """Damage, print a table and each bad end."""
    options = tyro.cli(Options, description=__doc__, args=argv)
    if unknown := set(options.kinds) - KINDS.keys():
        raise SystemExit(f"error: no kind {unknown.pop()!r}; there are {', '.join(KINDS)}")
    console = Console(width=None if sys.stdout.isatty() else 120)
    with tempfile.TemporaryDirectory(prefix="damage_") as folder:
        attempts = attack(options, Path(folder))
    console.print(table(attempts))
    bad = [one for one in attempts if one.end in BAD]
    for one in bad:
        text = f"{one.end}: {one.file}, {one.kind}, {one.action}: {one.message}"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    if bad:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
