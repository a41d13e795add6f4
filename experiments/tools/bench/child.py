"""The process of one side of a benchmark: ``python -m experiments.tools.bench.child``.

The first line of its input names a function and its arguments. The function prepares everything and
returns a `RunSteps`. Each further line asks for steps. Each line is answered by a line of JSON.
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
from experiments.tools.bench.side import Missing, RunSteps


def serve(lines: Iterable[str], answers: TextIO) -> None:
    """Answer requests until there are no more or one fails."""
    lines = iter(lines)
    try:
        run = _ready(json.loads(next(lines)))
        before = peak_memory.now()
        _answer(answers, {})
        for line in lines:
            request = json.loads(line)
            measure = {"run": _timed, "peak": _peak, "trace": _traced}[request["measure"]]
            _answer(answers, measure(run, request["steps"], before))
    except Missing as error:
        _answer(answers, {"missing": str(error)})
    except Exception:
        _answer(answers, {"error": traceback.format_exc()})


def _ready(request: dict[str, Any]) -> RunSteps:
    module, _, function = request["target"].partition(":")
    return getattr(importlib.import_module(module), function)(**request["arguments"])


def _timed(run: RunSteps, steps: int, before: int) -> dict[str, Any]:
    processor, start = cpu_seconds(), time.perf_counter()
    numbers = run(steps)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "cpu_seconds": cpu_seconds() - processor, "numbers": numbers}


def _peak(run: RunSteps, steps: int, before: int) -> dict[str, Any]:
    peak_memory.reset()
    run(steps)
    return {"bytes": peak_memory.peak(before)}


def _traced(run: RunSteps, steps: int, before: int) -> dict[str, Any]:
    # PyTorch's processes must not import JAX.
    from experiments.tools.bench.trace import traced

    return traced(run, steps)


def cpu_seconds() -> float:
    """Processor time of this process and its workers so far."""
    ticks = 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            # After the name, which may contain spaces: state, parent, group, …, user, system time.
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # the process has ended meanwhile
        if int(fields[2]) == os.getpgrp():
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _answer(answers: TextIO, value: dict[str, Any]) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()


if __name__ == "__main__":
    # The pipe carries only answers; what libraries print goes to the standard error.
    with os.fdopen(os.dup(1), "w") as channel:
        os.dup2(2, 1)
        serve(sys.stdin, channel)
