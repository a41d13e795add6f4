"""Trainings that are hit in the middle of what they do, and started again by the same command."""

import atexit
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

from experiments.tools.phases import Told, read_phases, run_telling
from launch.local import Launch, launch

PRELOADED = ["experiments.train", "experiments.autoencoder", "sklearn.datasets"]
"""These modules import all that the experiments need."""
PATIENCE_SECONDS = 900.0
"""Until a process is called hanging."""


class TrainingFailed(RuntimeError):
    """A training has ended by itself, or does not end; the message holds its last lines."""


class Training:
    """A run whose processes tell their phases in a file.

    Each start is a process of its own, in a process group of its own. It is forked from one that
    has imported the libraries, which saves seconds.

    Args:
        words: experiment and flags.
        directory: gets the run, its output and its phases.
        processes: of one job.
        tee: whether a process ``tee`` of the same group reads its output.
        stretch: seconds that each phase is made longer.
    """

    def __init__(
        self,
        words: Sequence[str],
        directory: Path,
        *,
        processes: int = 1,
        tee: bool = False,
        stretch: float = 0.0,
    ) -> None:
        experiment, *flags = words
        self.directory, self.run = directory, directory / experiment / "run"
        self.processes = processes
        self._output, self._phases = directory / "output.txt", directory / "phases.txt"
        self._command = (
            *(str(self._phases), f"experiments.{experiment}"),
            *(["--workdir", str(directory), "--name", "run", *flags], stretch),
        )
        self._tee = tee

    def finish(self) -> None:
        """Start or resume, and run to the end."""
        process = self.start()
        self.wait(process)
        if process.exitcode:
            raise self.failure(process)

    def start(self) -> BaseProcess:
        """Start or resume."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._phases.unlink(missing_ok=True)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        arguments = (str(self._output), self._tee, self.processes, self._command)
        process = context.Process(target=_train, args=arguments)
        process.start()
        return process

    def wait(self, process: BaseProcess, until: Callable[[], bool] | None = None) -> None:
        """Wait until something is true, by default nothing, or until the process has ended.

        Raises:
            TrainingFailed: it hangs, and was killed.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        if until is None:
            process.join(PATIENCE_SECONDS)
        while until is not None and time.monotonic() < deadline and process.is_alive():
            if until():
                return
            time.sleep(0.004 if self._phases.exists() else 0.05)
        if process.is_alive():
            failure = self.failure(process)
            kill_all(process)
            process.join()
            raise failure

    def told(self) -> list[Told]:
        """What its processes have told since the last start."""
        return read_phases(self._phases)

    def said(self) -> str:
        """The output since the last start."""
        return self._output.read_text()

    def failure(self, process: BaseProcess) -> TrainingFailed:
        """The error of a training that has ended by itself, or that hangs."""
        status = "hangs" if process.exitcode is None else f"ended with status {process.exitcode}"
        return TrainingFailed(f"{self._command}\n{status}:\n{self.said()[-3000:]}")


def kill_all(process: BaseProcess) -> None:
    """Kill the processes of a training."""
    assert process.pid is not None
    with suppress(ProcessLookupError):  # it has no group yet
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def _train(output: str, tee: bool, processes: int, command: tuple) -> None:
    """Train in this process, or in several that it starts."""
    os.setsid()
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    if tee:
        reader = subprocess.Popen(["tee", f"{output}.tee"], stdin=subprocess.PIPE, stdout=file)
        assert reader.stdin is not None
        file = reader.stdin.fileno()
    os.dup2(file, 1)
    os.dup2(file, 2)
    # Anew, because a pipe may take the place of a file, which can seek.
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    try:
        if processes == 1:
            run_telling(*command)
        else:
            program = f"from {run_telling.__module__} import run_telling; run_telling(*{command!r})"
            raise SystemExit(launch(Launch(processes, restarts=0, grace=0.5), ["-c", program]))
    finally:
        # As Python does at its exit; multiprocessing leaves it out.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
