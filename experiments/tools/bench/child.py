"""A program of a benchmark, in a process of its own: ``python -m experiments.tools.bench.child``.

The first line that it reads names a function and its arguments. The function makes everything ready
and gives what makes steps, a `Run`. Every further line asks for some. A line of JSON answers each.
"""

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from experiments.tools.bench import peak_memory
from experiments.tools.bench.program import Missing, Run


def serve(lines: Iterable[str], answers: TextIO) -> None:
    """Answer requests until there are no more, or one fails."""
    lines = iter(lines)
    try:
        run = _ready(json.loads(next(lines)))
        before = peak_memory.now()
        _answer(answers, {})
        for line in lines:
            request = json.loads(line)
            measure = {"run": _timed, "peak": _peak}[request["measure"]]
            _answer(answers, measure(run, request["steps"], before))
    except Missing as error:
        _answer(answers, {"missing": str(error)})
    except Exception:
        _answer(answers, {"error": traceback.format_exc()})


def _ready(request: dict[str, Any]) -> Run:
    module, _, function = request["target"].partition(":")
    return getattr(importlib.import_module(module), function)(**request["arguments"])


def _timed(run: Run, steps: int, before: int) -> dict[str, Any]:
    processor, start = cpu_seconds(), time.perf_counter()
    numbers = run(steps)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "cpu_seconds": cpu_seconds() - processor, "numbers": numbers}


def _peak(run: Run, steps: int, before: int) -> dict[str, Any]:
    peak_memory.reset()
    run(steps)
    return {"bytes": peak_memory.peak(before)}


def cpu_seconds() -> float:
    """Processor time of this process group so far: of this process and the workers it has."""
    ticks = 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            # After the name, which may hold blanks: state, parent, group, …, user and system time.
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        if int(fields[2]) == os.getpgrp():
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _answer(answers: TextIO, value: dict[str, Any]) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()


if __name__ == "__main__":
    # The pipe is for answers alone: what libraries print goes to the error output.
    with os.fdopen(os.dup(1), "w") as channel:
        os.dup2(2, 1)
        serve(sys.stdin, channel)
