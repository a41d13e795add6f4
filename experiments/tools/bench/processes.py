"""The sides of a benchmark as processes, of which one works at a time."""

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
"""A request that takes longer counts as hanging."""


class SideFailed(UserError):
    """A side of a benchmark failed, ended or hung."""


class SideMissing(UserError):
    """Something that a side needs is not installed or does not exist."""


@dataclass(frozen=True)
class Side:
    """One side of a comparison, before it is started."""

    name: str
    target: str
    """The function that prepares it, as module:function; see `child`."""
    arguments: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Additional environment variables of its process."""
    needed: bool = True
    """Whether the comparison makes no sense without it."""


class Process:
    """A side that has been started. It is suspended except while answering."""

    def __init__(self, side: Side) -> None:
        self.name = side.name
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `end`)
        self._received = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "experiments.tools.bench.child"],
            cwd=ROOT,
            env={**os.environ, **side.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            process_group=0,
        )

    @property
    def pid(self) -> int:
        """Id of the process, and of the process group of it and its workers."""
        return self._process.pid

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            SideFailed: the side failed, ended or hung; the message holds its output.
            SideMissing: something that it needs is missing.
        """
        assert self._process.stdin is not None
        self._signal(signal.SIGCONT)
        # If the process has ended, reading the answer reports it.
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        answer = json.loads(self._line())
        if "error" in answer:
            raise SideFailed(f"{self.name} failed:\n{answer['error']}")
        if "missing" in answer:
            raise SideMissing(answer["missing"])
        # Workers too: reading ahead would take processor time from the other sides.
        self._signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        return answer

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        pipe, end = self._process.stdout.fileno(), time.monotonic() + PATIENCE_SECONDS
        while b"\n" not in self._received:
            if not select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0]:
                raise SideFailed(
                    f"{self.name} did not answer within {PATIENCE_SECONDS:,.0f} s and was killed"
                    + self._output()
                )
            part = os.read(pipe, 1 << 16)
            if not part:
                raise SideFailed(
                    f"{self.name} ended without an answer, {_reason(self._process.wait())}"
                    + self._output()
                )
            self._received += part
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _output(self) -> str:
        self._errors.seek(0)
        text = self._errors.read().decode(errors="replace").strip()
        return f". Its output:\n{text}" if text else ", with no output"

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def end(self) -> None:
        """Kill the process and its workers."""
        self._signal(signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            assert pipe is not None
            # The pipe may still hold a request.
            with suppress(BrokenPipeError):
                pipe.close()


def _reason(status: int) -> str:
    if status >= 0:
        return f"status {status}"
    name = signal.Signals(-status).name
    return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


@contextmanager
def started(sides: Sequence[Side], console: Console) -> Iterator[list[Process]]:
    """Start the sides one after another, and end all of them on exit.

    A side that is not needed and misses something is left out, and a line says why.
    """
    with ExitStack() as stack:
        processes = []
        for side in sides:
            process = Process(side)
            stack.callback(process.end)
            with console.status(f"{side.name}: preparing"):
                try:
                    process.ask({"target": side.target, "arguments": dict(side.arguments)})
                except SideMissing as error:
                    if side.needed:
                        raise
                    console.print(f"without {side.name}: {error}", highlight=False)
                    continue
            processes.append(process)
        yield processes
