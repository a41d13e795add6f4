"""The programs of a benchmark as processes, of which one works at a time."""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from cnn_jax.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_SECONDS = 1800.0
"""What takes longer, to get ready or to make its steps, hangs."""


class ProgramFailed(UserError):
    """A program of a benchmark has failed, ended or hangs."""


class ProgramMissing(UserError):
    """What a program needs is not there."""


@dataclass(frozen=True)
class Program:
    """One side of a comparison, before it is started."""

    name: str
    target: str
    """The function that makes it ready, as module:function; see `child`."""
    arguments: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that this one's process has beside those of all."""
    needed: bool = True
    """Whether the comparison makes no sense without it."""


class Process:
    """A program that has been started; it is stopped but while it answers."""

    def __init__(self, program: Program) -> None:
        self.name = program.name
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `end`)
        self._received = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "experiments.tools.bench.child"],
            cwd=ROOT,
            env={**os.environ, **program.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            process_group=0,
        )

    @property
    def pid(self) -> int:
        """Number of the process, and of the group that it and its workers are."""
        return self._process.pid

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request, wait for its answer.

        Raises:
            ProgramFailed: with all that the program has said about it.
            ProgramMissing: something that it needs is not there.
        """
        assert self._process.stdin is not None
        self._signal(signal.SIGCONT)
        # Where it has ended, the missing answer tells.
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        answer = json.loads(self._line())
        if "error" in answer:
            raise ProgramFailed(f"{self.name} has failed:\n{answer['error']}")
        if "missing" in answer:
            raise ProgramMissing(answer["missing"])
        # With its workers: what they read ahead would take processors from the others.
        self._signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        return answer

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        pipe, end = self._process.stdout.fileno(), time.monotonic() + PATIENCE_SECONDS
        while b"\n" not in self._received:
            if not select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0]:
                raise ProgramFailed(
                    f"{self.name} has not answered for {PATIENCE_SECONDS:,.0f} s and is ended"
                    + self._said()
                )
            part = os.read(pipe, 1 << 16)
            if not part:
                raise ProgramFailed(
                    f"{self.name} has ended without an answer, {_reason(self._process.wait())}"
                    + self._said()
                )
            self._received += part
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _said(self) -> str:
        self._errors.seek(0)
        text = self._errors.read().decode(errors="replace").strip()
        return f". It said:\n{text}" if text else ", and said nothing"

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def end(self) -> None:
        """Kill it and its workers."""
        self._signal(signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            assert pipe is not None
            # A request may be left that it has never read.
            with suppress(BrokenPipeError):
                pipe.close()


def _reason(status: int) -> str:
    if status >= 0:
        return f"status {status}"
    name = signal.Signals(-status).name
    return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


@contextmanager
def started(programs: Sequence[Program], console: Console) -> Iterator[list[Process]]:
    """Programs, each made ready before the next one starts; all end with the context.

    Those that are not needed are left out, with a line that says why, where something is missing.
    """
    with ExitStack() as stack:
        processes = []
        for program in programs:
            process = Process(program)
            stack.callback(process.end)
            with console.status(f"{program.name}: getting ready"):
                try:
                    process.ask({"target": program.target, "arguments": dict(program.arguments)})
                except ProgramMissing as error:
                    if program.needed:
                        raise
                    console.print(f"without {program.name}: {error}", highlight=False)
                    continue
            processes.append(process)
        yield processes
