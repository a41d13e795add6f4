"""Stop a training by each signal, in each phase: it saves, and goes on to the same bits.

    python -m experiments.tools.signals

A perceptron trains on a stream of handwritten digits without interruption. Others, started by the
same command, are hit by SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2 and SIGXCPU while they load,
compile, train, evaluate, save (there twice in a row) and draw, and restarted each time. The signals
go to the process, to its process group, or to a group with a tee that reads its output, which they
end; with and without worker processes. Each hit must end with status 75 and without a traceback,
and lose no step; in the end all arrays, rows and figures must equal those of the uninterrupted
training to the bit. Otherwise the exit status is 1.
"""

import os
import re
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import tyro
from rich.table import Table

from cnn_jax.data.load import MOST_WORKERS
from cnn_jax.data.stream import STOP_SIGNALS
from cnn_jax.errors import check_range
from cnn_jax.training.signals import INTERRUPTED
from experiments.tools.attacked import Training, TrainingFailed
from experiments.tools.console import standard_console
from experiments.tools.same_results import differences

Target = Literal["process", "group", "tee"]
Phase = Literal["loading", "compiling", "training", "evaluating", "saving", "drawing"]
Number = Literal["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU"]

STRETCH = 0.1
"""Seconds that each phase is made longer, so that a signal comes inside of it."""
COMMAND = (
    "mlp_fashion_mnist --loss softmax --hidden 16 --data.name digits --data.storage stream "
    "--training.batch-size 64 --training.log-every 5steps --training.evaluate-every 60steps "
    "--training.save-every 10steps"
)


@dataclass(frozen=True)
class Options:
    """Which signals, to whom and when."""

    signals: tuple[Number, ...] = get_args(Number)
    """Each of them is sent in each phase."""
    targets: tuple[Target, ...] = get_args(Target)
    """Who gets them: the process, its group, or a group with a tee that reads its output."""
    phases: tuple[Phase, ...] = get_args(Phase)
    """What the training is doing."""
    workers: tuple[int, ...] = (0, 1)
    """Processes that decode the stream."""
    steps: int = 300
    """Length of the training."""
    workdir: str = ""
    """Directory in which the runs are kept; a temporary one by default."""

    def __post_init__(self) -> None:
        check_range(self, 0, MOST_WORKERS, workers=self.workers)
        check_range(self, 1, steps=self.steps)


@dataclass(frozen=True)
class Hit:
    """A signal and what came of it."""

    number: Number
    target: Target
    phase: Phase
    workers: int
    status: int
    seconds: float
    """From the signal to the end of the process."""
    lost: int
    """Steps that were made and not saved."""
    traceback: str
    """What was said from a traceback on; "" if there was none."""


def hit_all(
    options: Options, workdir: Path, tell: Callable[[str], None] = print
) -> tuple[list[Hit], list[str]]:
    """Train once without signals, and once for each target and number of workers with all of them.

    Args:
        options: which signals.
        workdir: gets a directory for each run.
        tell: is called with a line for each hit.

    Returns:
        The hits, and a line for each difference of a run from the undisturbed one.
    """
    for one in STOP_SIGNALS:
        # As under nohup. What is ignored here would be ignored in the trainings too.
        if signal.getsignal(one) == signal.SIG_IGN:
            signal.signal(one, signal.SIG_DFL)

    def training(name: str, workers: int = 0, *, tee: bool = False) -> Training:
        words = [*COMMAND.split(), "--data.workers", str(workers)]
        words += ["--training.duration", f"{options.steps}steps"]
        return Training(words, workdir / name, tee=tee, stretch=STRETCH)

    calm = training("calm")
    calm.finish()
    hits, lines = [], []
    for target in options.targets:
        for workers in options.workers:
            hurt = training(f"{target}-{workers}", workers, tee=target == "tee")
            for phase in options.phases:
                for number in options.signals:
                    hits.append(_hit(hurt, number, target, phase, workers))
                    tell(str(hits[-1]))
            hurt.finish()
            found = _differences(calm.run, hurt.run)
            lines += [f"{target}, {workers} workers: {line}" for line in found]
    return hits, lines


def _hit(training: Training, number: Number, target: Target, phase: Phase, workers: int) -> Hit:
    """Start or resume, and send a signal in a phase."""
    before = _latest(training.run)
    process = training.start()
    # Not before the third chunk, so that there is something to lose.
    times = 2 if phase == "training" else 1
    training.wait(process, lambda: [one.phase for one in training.told()].count(phase) >= times)
    if not process.is_alive():
        raise training.failure(process)
    assert process.pid is not None
    start = time.monotonic()
    for _ in range(2 if phase == "saving" else 1):
        with suppress(ProcessLookupError):  # it has ended
            send = os.kill if target == "process" else os.killpg
            send(process.pid, getattr(signal, number))
        time.sleep(STRETCH / 4)
    with suppress(TrainingFailed):  # it hangs, and was killed
        training.wait(process)
    seconds = time.monotonic() - start
    lost = max([before, *(one.step for one in training.told())]) - _latest(training.run)
    traceback = "".join(training.said().partition("Traceback")[1:])
    status = process.exitcode
    assert status is not None
    return Hit(number, target, phase, workers, status, seconds, lost, traceback)


def _latest(run: Path) -> int:
    names = [path.name for path in run.glob("checkpoints/*")]
    return max((int(name) for name in names if name.isdigit()), default=0)


def _differences(calm: Path, run: Path) -> list[str]:
    # A stop saves at another step, so other checkpoints are kept beside the last one.
    return [line for line in differences(calm, run) if not re.match("checkpoints/.* only$", line)]


def table(hits: Sequence[Hit]) -> Table:
    """A row for each target, number of workers and phase; all signals together."""
    shown = Table(title=f"{len(hits)} signals", title_justify="left")
    columns = ("to", "workers", "while", "signals", "status", "seconds", "steps lost", "tracebacks")
    for heading in columns:
        shown.add_column(heading)
    for key in dict.fromkeys((hit.target, hit.workers, hit.phase) for hit in hits):
        group = [hit for hit in hits if (hit.target, hit.workers, hit.phase) == key]
        shown.add_row(
            *(key[0], str(key[1]), key[2], str(len(group))),
            ", ".join(map(str, sorted({hit.status for hit in group}))),
            f"{min(hit.seconds for hit in group):.1f} to {max(hit.seconds for hit in group):.1f}",
            str(sum(hit.lost for hit in group)),
            str(sum(bool(hit.traceback) for hit in group)),
        )
    return shown


def main(argv: Sequence[str] | None = None) -> None:
    """Send all signals, compare and print a table."""
    console = standard_console()

    def tell(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    options = tyro.cli(Options, description=__doc__, args=argv)
    with tempfile.TemporaryDirectory(prefix="signals_") as temporary:
        workdir = Path(options.workdir or temporary).resolve()
        workdir.mkdir(parents=True, exist_ok=True)
        hits, lines = hit_all(options, workdir, tell)
    console.print(table(hits))
    bad = [hit for hit in hits if hit.status != INTERRUPTED or hit.lost or hit.traceback]
    for text in [*map(str, bad), *lines]:
        tell(text)
    if bad or lines:
        raise SystemExit(1)
    console.print("all end with status 75, and the runs equal the undisturbed one to the bit")


if __name__ == "__main__":
    main()
