"""Stop a training by each signal, in each phase: it saves, and goes on to the same bits.

    python -m experiments.tools.signals

A perceptron trains on a stream of handwritten digits without interruption. Others, started by the
same command, are hit by SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2 and SIGXCPU while they load,
compile, train, evaluate, save (there twice in a row) and draw, and restarted each time. The signals
go to the process, to its process group, or to the group of a shell that pipes it into tee, which
they end; with and without worker processes. Each hit must end with status 75 and without a
traceback, and lose no step; in the end all arrays, rows and figures must equal those of the
uninterrupted training to the bit. Otherwise the exit status is 1.
"""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import tyro
from rich.table import Table

from cnn_jax.data.stream import STOP_SIGNALS
from cnn_jax.training.signals import INTERRUPTED
from experiments.tools.console import standard_console
from experiments.tools.phases import read_phases, run_telling
from experiments.tools.same_results import differences

Target = Literal["process", "group", "tee"]
Phase = Literal["loading", "compiling", "training", "evaluating", "saving", "drawing"]
Number = Literal["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU"]

STRETCH = 0.1
"""Seconds that each phase is made longer, so that a signal comes inside of it."""
PATIENCE = 900.0
"""Seconds until a process is called hanging."""


@dataclass(frozen=True)
class Options:
    """Which signals, to whom and when."""

    signals: tuple[Number, ...] = get_args(Number)
    """Each of them is sent in each phase."""
    targets: tuple[Target, ...] = get_args(Target)
    """Who gets them: the process, its group, or the group of a shell that pipes it into tee."""
    phases: tuple[Phase, ...] = get_args(Phase)
    """What the training is doing."""
    workers: tuple[int, ...] = (0, 1)
    """Processes that decode the stream."""
    steps: int = 300
    """Length of the training."""
    workdir: str = ""
    """Directory in which the runs are kept; a temporary one by default."""


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
    traceback: bool


def hit_all(options: Options, workdir: Path) -> tuple[list[Hit], list[str]]:
    """Train once without signals, and once for each target and number of workers with all of them.

    Returns:
        The hits, and a line for each difference of a run from the undisturbed one.
    """
    for number in STOP_SIGNALS:
        # As under nohup. What is ignored here would be ignored in the trainings too.
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    calm = Training(workdir / "calm", options.steps)
    calm.finish()
    hits, lines = [], []
    for target in options.targets:
        for workers in options.workers:
            run = Training(workdir / f"{target}-{workers}", options.steps, target, workers)
            for phase in options.phases:
                hits += [run.hit(number, phase) for number in options.signals]
            run.finish()
            found = [f"{target}, {workers} workers: {line}" for line in run.differences(calm)]
            lines += found
    return hits, lines


class Training:
    """A run in a process group of its own, which tells its phases in a file."""

    def __init__(
        self, directory: Path, steps: int, target: Target = "process", workers: int = 0
    ) -> None:
        self.run = directory / "mlp_fashion_mnist" / "run"
        self._target, self._workers = target, workers
        self._phases, self._output = directory / "phases.txt", directory / "output.txt"
        directory.mkdir(parents=True, exist_ok=True)
        flags = (
            "--name run --loss softmax --hidden 16 --data.name digits --data.storage stream "
            f"--data.workers {workers} --training.batch-size 64 "
            f"--training.duration {steps}steps --training.log-every 5steps "
            "--training.evaluate-every 60steps --training.save-every 10steps"
        )
        words = ["--workdir", str(directory), *flags.split()]
        call = (str(self._phases), "experiments.mlp_fashion_mnist", words, STRETCH)
        program = f"from {run_telling.__module__} import run_telling; run_telling(*{call!r})"
        self._command = [sys.executable, "-c", program]

    def finish(self) -> None:
        """Run to the end."""
        process = self._start()
        if status := self._wait(process):
            raise RuntimeError(f"ended with status {status}:\n{self._output.read_text()[-3000:]}")

    def hit(self, number: Number, phase: Phase) -> Hit:
        """Start or resume, and send a signal in a phase."""
        before = self._latest()
        self._phases.unlink(missing_ok=True)
        process, start = self._start(), time.monotonic()
        while not self._is_in(phase):
            if process.poll() is not None or time.monotonic() - start > PATIENCE:
                said = self._output.read_text()[-3000:]
                raise RuntimeError(f"not {phase}, status {process.returncode}:\n{said}")
            time.sleep(0.005)
        start = time.monotonic()
        for _ in range(2 if phase == "saving" else 1):
            self._send(process, getattr(signal, number))
            time.sleep(STRETCH / 4)
        status = self._wait(process)
        seconds = time.monotonic() - start
        made = [one.step for one in read_phases(self._phases)]
        lost = max([before, *made]) - self._latest()
        traceback = "Traceback" in self._output.read_text()
        return Hit(number, self._target, phase, self._workers, status, seconds, lost, traceback)

    def differences(self, calm: "Training") -> list[str]:
        """A line for each difference from an undisturbed training."""
        # A stop saves at another step, so other checkpoints are kept beside the last one.
        other = ("checkpoints/", "in one directory only")
        return [
            line
            for line in differences(calm.run, self.run)
            if not (line.startswith(other[0]) and line.endswith(other[1]))
        ]

    def _start(self) -> subprocess.Popen:
        command = self._command
        if self._target == "tee":
            log = shlex.quote(f"{self._output}.tee")
            traps = " ".join(number.name for number in STOP_SIGNALS)
            script = (
                f"trap : {traps}; {shlex.join(command)} 2>&1 | tee {log}; exit ${{PIPESTATUS[0]}}"
            )
            command = ["bash", "-c", script]
        with self._output.open("w") as output:
            return subprocess.Popen(
                command,
                cwd=Path(__file__).resolve().parents[2],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait(self, process: subprocess.Popen) -> int:
        try:
            return process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return process.wait()

    def _send(self, process: subprocess.Popen, number: int) -> None:
        try:
            send = os.kill if self._target == "process" else os.killpg
            send(process.pid, number)
        except ProcessLookupError:
            pass  # it has ended

    def _is_in(self, phase: Phase) -> bool:
        entered = [one.phase for one in read_phases(self._phases)]
        # Not before the third chunk, so that there is something to lose.
        return entered.count(phase) >= (2 if phase == "training" else 1)

    def _latest(self) -> int:
        names = [path.name for path in self.run.glob("checkpoints/*")]
        return max((int(name) for name in names if name.isdigit()), default=0)


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
            str(sum(hit.traceback for hit in group)),
        )
    return shown


def main(argv: Sequence[str] | None = None) -> None:
    """Send all signals, compare and print a table."""
    console = standard_console()
    options = tyro.cli(Options, description=__doc__, args=argv)
    with tempfile.TemporaryDirectory(prefix="signals_") as temporary:
        workdir = Path(options.workdir or temporary).resolve()
        workdir.mkdir(parents=True, exist_ok=True)
        hits, lines = hit_all(options, workdir)
    console.print(table(hits))
    bad = [hit for hit in hits if hit.status != INTERRUPTED or hit.lost or hit.traceback]
    for text in [*map(str, bad), *lines]:
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    if bad or lines:
        raise SystemExit(1)
    console.print("all end with status 75, and the runs equal the undisturbed one to the bit")


if __name__ == "__main__":
    main()
