"""Kill trainings many times: after resuming they must equal uninterrupted ones to the bit.

    python -m experiments.tools.kill_and_resume --kills 500

For each kind of run, a small training runs without interruption. Others of the same command are
killed by SIGKILL while they start, step, evaluate, save and draw, and restarted each time, until
they have ended. Then both directories must hold the same files, all arrays of all checkpoints must
be equal to the bit, and metrics.csv, figures and the final metrics too; otherwise the exit status
is 1. Only clocks are not compared. A kill hits all processes of a run, as a scheduler does, or one
that trains, as a system does that has run out of memory.

Each start is a process of its own, forked from one that has imported the libraries, which saves
seconds.
"""

import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal, get_args

import tyro
from rich.table import Table

from cnn_jax.errors import ConfigError, check_range
from experiments.tools.console import standard_console
from experiments.tools.messages import user_errors
from experiments.tools.phases import Phase, Told, read_phases, run_telling
from experiments.tools.same_results import count_arrays, differences
from launch.local import Launch, launch

Moment = Literal["start-up", "step", "evaluation", "save", "figures"]
MOMENTS: tuple[Moment, ...] = get_args(Moment)
PHASES: dict[Phase, Moment] = {
    "loading": "start-up",
    "compiling": "start-up",
    "training": "step",
    "evaluating": "evaluation",
    "saving": "save",
    "drawing": "figures",
}
AIMS: dict[Moment, tuple[int, float]] = {
    "start-up": (1, 4.0),
    "step": (3, 0.003),
    "evaluation": (3, 0.003),
    "save": (4, 0.3),
    "figures": (1, 0.5),
}
"""How often a kill is aimed at a moment, and the longest time in seconds after its beginning."""
INTERVALS = (
    "--training.batch-size 64 --training.eval-batch-size 32 --training.log-every 2steps "
    "--training.evaluate-every 6steps --training.save-every 10steps"
)
"""Saves fall between evaluations."""
PRELOADED = ["experiments.train", "experiments.autoencoder", "sklearn.datasets"]
"""These modules import all that the experiments need."""
POLL_SECONDS = 0.005
PATIENCE_SECONDS = 600.0
"""Until a process is called hanging."""


@dataclass(frozen=True)
class Kind:
    """A kind of run."""

    command: str
    """Experiment and flags; SOURCE is the directory of a finished run."""
    processes: int = 1
    """Processes of one job."""


MLP = "mlp_fashion_mnist --loss softmax --hidden 16 --data.name digits"
SOURCE = Kind(MLP)
KINDS = {
    "supervised": Kind("train --model simple_cnn --data.name digits"),
    "study": Kind("mlp_regression --functions wave --widths 2 4 8 --points 256"),
    "sweep": Kind("learning_rates --hidden 16 --sweep.learning-rate 1e-3 1e-2 --data.name digits"),
    "stream": Kind(f"{MLP} --data.storage stream --data.workers 0"),
    # Each evaluation starts a worker of its own, for seconds.
    "workers": Kind(
        f"{MLP} --data.storage stream --data.workers 1 --training.evaluate-every 30steps"
    ),
    "fine-tuning": Kind(
        "finetune --init run --from-run SOURCE --head-duration 20steps --data.name digits"
    ),
    "processes": Kind(MLP, processes=2),
}
"""The first stream is decoded by a thread, the second one by a process of its own."""


@dataclass(frozen=True)
class Options:
    """How often to kill, and what."""

    kills: int = 20
    """Number of SIGKILLs."""
    kinds: tuple[str, ...] = tuple(KINDS)
    """Kinds of runs, among which the kills are divided."""
    steps: int = 60
    """Length of a training. There are as many as it takes until there were enough kills."""
    seed: int = 0
    """Seed of the moments of the kills."""
    workdir: str = ""
    """Directory in which runs that differ are kept; a temporary one by default."""
    flags: tuple[str, ...] = ()
    """Further flags for the trainings, such as --parallel pmap (or --deterministic on a GPU)."""

    def __post_init__(self) -> None:
        check_range(self, 0, seed=self.seed)
        check_range(self, 1, kills=self.kills, steps=self.steps)
        for kind in self.kinds:
            if kind not in KINDS:
                raise ConfigError(f"--kinds: no kind {kind!r}; there are {', '.join(KINDS)}")


@dataclass
class Outcome:
    """What came of the kills of a kind of run."""

    hits: Counter[Moment] = field(default_factory=Counter)
    runs: int = 0
    """Trainings that were killed, resumed and compared."""
    arrays: int = 0
    """Arrays in the checkpoints of each of them."""
    differences: list[str] = field(default_factory=list)


class TrainingFailed(RuntimeError):
    """A training has ended by itself, or does not end; the message holds its last lines."""


def kill_and_resume(
    options: Options, directory: Path, tell: Callable[[str], None] = print
) -> dict[str, Outcome]:
    """Train each kind of run once without kills, and again with them.

    Args:
        options: which kinds, and how often to kill.
        directory: gets a directory for each kind; runs that do not differ are removed.
        tell: is called with a line for each run.

    Raises:
        TrainingFailed: a training without kills.
    """
    outcomes = {}
    for number, kind in enumerate(options.kinds):
        # The first kinds have one more where they cannot be divided evenly.
        kills = -((number - options.kills) // len(options.kinds))
        outcomes[kind] = _attack(kind, kills, options, directory / kind, tell)
    return outcomes


def _attack(
    name: str, kills: int, options: Options, directory: Path, tell: Callable[[str], None]
) -> Outcome:
    kind, chance = KINDS[name], random.Random(f"{options.seed} {name}")
    source = Training(SOURCE, directory / "source", options)
    if "SOURCE" in kind.command:
        source.finish()
    calm = Training(kind, directory / "calm", options, source=source.run)
    calm.finish()
    outcome = Outcome(arrays=count_arrays(calm.run))
    while (before := outcome.hits.total()) < kills:
        outcome.runs += 1
        folder = directory / f"killed-{outcome.runs}"
        killed = Training(kind, folder, options, source=source.run)
        try:
            while outcome.hits.total() < kills and (hit := killed.kill(chance)):
                outcome.hits[hit] += 1
            killed.finish()
            lines = differences(calm.run, killed.run)
        except TrainingFailed as failure:
            lines = [str(failure)]
        made = outcome.hits.total() - before
        tell(f"{name}, run {outcome.runs}: {made} kills, {'differs' if lines else 'equal'}")
        outcome.differences += [f"{name}, run {outcome.runs}: {line}" for line in lines]
        if not lines:
            shutil.rmtree(folder)
    return outcome


class Training:
    """A run in a process group of its own, which tells its phases in a file.

    Args:
        kind: of run.
        directory: gets the run, its output and its phases.
        options: length and further flags.
        source: the run that is fine-tuned.
    """

    def __init__(self, kind: Kind, directory: Path, options: Options, source: Path | None = None):
        experiment, *flags = kind.command.split()
        self.directory, self.run = directory, directory / experiment / "run"
        self._module, self._processes = f"experiments.{experiment}", kind.processes
        self._words = [
            *("--workdir", str(directory), "--name", "run", *INTERVALS.split()),
            *("--training.duration", f"{options.steps}steps"),
            *(str(source) if flag == "SOURCE" else flag for flag in flags),
            *options.flags,
        ]
        self._phases, self._output = directory / "phases.txt", directory / "output.txt"
        self._ended = False

    def finish(self) -> None:
        """Run to the end, unless it has ended."""
        if not self._ended:
            process = self._start()
            self._wait(process)
            if process.exitcode:
                raise self._failure(process)

    def kill(self, chance: random.Random) -> Moment | None:
        """Start or resume, and kill; the moment that was hit, None if the training ended before."""
        aim = chance.choices(MOMENTS, [AIMS[moment][0] for moment in MOMENTS])[0]
        times, seconds = chance.randint(1, 3), chance.uniform(0.0, AIMS[aim][1])
        victim = chance.randrange(self._processes + 1)
        process = self._start()
        if aim != "start-up":
            self._wait(process, lambda: _count(read_phases(self._phases), aim) >= times)
        time.sleep(seconds)
        told = read_phases(self._phases)
        trained = sorted({one.process for one in told})
        if victim < len(trained):
            with suppress(ProcessLookupError):  # it has ended
                os.kill(trained[victim], signal.SIGKILL)
        else:
            _kill_all(process)
        self._wait(process)
        self._ended = process.exitcode == 0
        # The status of a job is that of its first process that has failed.
        if not self._ended and self._processes == 1 and process.exitcode != -signal.SIGKILL:
            raise self._failure(process)
        return None if self._ended else _moment(told)

    def _start(self) -> BaseProcess:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._phases.unlink(missing_ok=True)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        job = (self._processes, str(self._phases), self._module, self._words)
        process = context.Process(target=_begin, args=(str(self._output), *job))
        process.start()
        return process

    def _wait(self, process: BaseProcess, until: Callable[[], bool] = lambda: False) -> None:
        started = time.monotonic()
        while process.is_alive() and not until():
            if time.monotonic() - started > PATIENCE_SECONDS:
                _kill_all(process)
                raise self._failure(process)
            process.join(POLL_SECONDS)

    def _failure(self, process: BaseProcess) -> TrainingFailed:
        output = "\n".join(self._output.read_text().split("\n")[-30:])
        command = f"{self._module} {' '.join(self._words)}"
        return TrainingFailed(f"{command}\nended with status {process.exitcode}:\n{output}")


def _begin(output: str, processes: int, phases: str, module: str, words: Sequence[str]) -> None:
    """Train in this process, or in several that it starts."""
    os.setsid()
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, sys.stdout.fileno())
    os.dup2(file, sys.stderr.fileno())
    if processes == 1:
        run_telling(phases, module, words)
    else:
        call = f"run_telling({phases!r}, {module!r}, {list(words)!r})"
        program = f"from {run_telling.__module__} import run_telling; {call}"
        raise SystemExit(launch(Launch(processes, grace=0.5), ["-c", program]))


def _kill_all(process: BaseProcess) -> None:
    assert process.pid is not None
    with suppress(ProcessLookupError):  # it has no group yet
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def _count(told: Sequence[Told], moment: Moment) -> int:
    return sum(PHASES.get(one.phase) == moment for one in told)


def _moment(told: Sequence[Told]) -> Moment:
    """What a training is doing that has told this."""
    if sum(one.phase == "saving" for one in told) > sum(one.phase == "saved" for one in told):
        return "save"
    begun = [PHASES[one.phase] for one in told if one.phase not in ("saving", "saved")]
    return begun[-1] if begun else "start-up"


def table(outcomes: dict[str, Outcome]) -> Table:
    """A row for each kind of run, and their sum."""
    shown = Table(title="SIGKILLs by what they hit", title_justify="left")
    for heading in ("kind", *MOMENTS, "kills", "runs", "arrays", "differences"):
        shown.add_column(heading, justify="left" if heading == "kind" else "right")
    total = Outcome()
    for name, one in [*outcomes.items(), ("all", total)]:
        if one is not total:
            total.hits += one.hits
            total.runs += one.runs
            total.differences += one.differences
        shown.add_row(
            name,
            *(str(one.hits[moment]) for moment in MOMENTS),
            *(
                str(one.hits.total()),
                str(one.runs),
                str(one.arrays or ""),
                str(len(one.differences)),
            ),
        )
    return shown


def main(argv: Sequence[str] | None = None) -> None:
    """Kill, compare and print a table."""
    console = standard_console()
    with user_errors(console):
        options = tyro.cli(Options, description=__doc__, args=argv)
    with tempfile.TemporaryDirectory(prefix="kill_and_resume_") as temporary:
        directory = Path(options.workdir or temporary).resolve()
        outcomes = kill_and_resume(options, directory, console.print)
    console.print(table(outcomes))
    different = [line for one in outcomes.values() for line in one.differences]
    for line in different:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if different:
        raise SystemExit(1)
    console.print("equal: the same files; all arrays, rows, figures and final metrics to the bit")


if __name__ == "__main__":
    main()
