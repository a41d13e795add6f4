"""Kill trainings many times: after resuming they must equal uninterrupted ones to the bit.

    python -m experiments.tools.kill_and_resume --kills 500

For each kind of run, a small training runs without interruption. Others of the same command are
killed by SIGKILL while they start, step, evaluate, save and draw, and restarted each time, until
they have ended. Then both directories must hold the same files, all arrays of all checkpoints must
be equal to the bit, and metrics.csv, figures and the final metrics too; otherwise the exit status
is 1. Only clocks are not compared. A kill hits all processes of a run, as a scheduler does, or one
that trains, as a system does that has run out of memory.
"""

import json
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import tyro
from rich.table import Table

from cnn_jax.durable import write_text
from cnn_jax.errors import ConfigError, check_range
from experiments.tools.attacked import Training, TrainingFailed, kill_all
from experiments.tools.console import standard_console
from experiments.tools.messages import user_errors
from experiments.tools.phases import Phase, Told
from experiments.tools.same_results import count_arrays, differences

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


@dataclass(frozen=True)
class Kind:
    """A kind of run."""

    command: str
    """Experiment and flags; SOURCE is the directory of a finished run."""
    processes: int = 1
    """Processes of one job."""


MLP = "mlp_fashion_mnist --loss softmax --hidden 16 --data.name digits"
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
    "adversarial": Kind(
        "dcgan --data.name digits --width 4 --latent 8 --classifier-duration 20steps"
    ),
    "words": Kind("word2vec --size 8 --mapped 30 --data.stretch 32"),
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
    """Directory for the counts and the runs that differ, with which the same command goes on; a
    temporary one by default."""
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
    kind = KINDS[name]
    intervals = [*INTERVALS.split(), "--training.duration", f"{options.steps}steps"]

    def training(kind: Kind, folder: str) -> Training:
        experiment, *flags = (source if word == "SOURCE" else word for word in kind.command.split())
        words = [experiment, *intervals, *flags, *options.flags]
        return Training(words, directory / folder, processes=kind.processes)

    source = str(directory / "source" / MLP.split()[0] / "run")
    calm, counts = training(kind, "calm"), directory / "counts.json"
    if counts.exists():
        outcome = _read(counts)
    else:
        if "SOURCE" in kind.command:
            training(Kind(MLP), "source").finish()
        calm.finish()
        outcome = Outcome(arrays=count_arrays(calm.run))
    while (before := outcome.hits.total()) < kills:
        outcome.runs += 1
        chance = random.Random(f"{options.seed} {name} {outcome.runs}")
        killed = training(kind, f"killed-{outcome.runs}")
        shutil.rmtree(killed.directory, ignore_errors=True)  # of a command that was stopped
        try:
            while outcome.hits.total() < kills and (hit := _kill(killed, chance)):
                outcome.hits[hit] += 1
            killed.finish()
            lines = differences(calm.run, killed.run)
        except TrainingFailed as failure:
            lines = [str(failure)]
        outcome.differences += [f"{name}, run {outcome.runs}: {line}" for line in lines]
        write_text(counts, json.dumps(vars(outcome)))
        made = outcome.hits.total() - before
        tell(f"{name}, run {outcome.runs}: {made} kills, {'differs' if lines else 'equal'}")
        if not lines:
            shutil.rmtree(killed.directory)
        elif not made:
            break  # it fails by itself
    return outcome


def _read(counts: Path) -> Outcome:
    outcome = Outcome(**json.loads(counts.read_text()))
    outcome.hits = Counter(outcome.hits)
    return outcome


def _kill(training: Training, chance: random.Random) -> Moment | None:
    """Start or resume, and kill; the moment that was hit, None if the training ended before."""
    aim = chance.choices(MOMENTS, [AIMS[moment][0] for moment in MOMENTS])[0]
    times, seconds = chance.randint(1, 3), chance.uniform(0.0, AIMS[aim][1])
    victim = chance.randrange(training.processes + 1)
    process = training.start()
    if aim != "start-up":
        training.wait(process, lambda: _count(training.told(), aim) >= times)
    time.sleep(seconds)
    told = training.told()
    trained = sorted({one.process for one in told})
    if victim < len(trained):
        with suppress(ProcessLookupError):  # it has ended
            os.kill(trained[victim], signal.SIGKILL)
    else:
        kill_all(process)
    training.wait(process)
    # The status of a job is that of its first process that has failed.
    if training.processes == 1 and process.exitcode not in (0, -signal.SIGKILL):
        raise training.failure(process)
    return None if process.exitcode == 0 else moment_of(told)


def _count(told: Sequence[Told], moment: Moment) -> int:
    return sum(PHASES.get(one.phase) == moment for one in told)


def moment_of(told: Sequence[Told]) -> Moment:
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
