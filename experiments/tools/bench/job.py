"""Our side as a job of several processes, all of which work while it is measured."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from cnn_jax.training.distributed import HEARTBEAT, initialize_processes
from experiments.tools.bench import ours
from experiments.tools.bench.opponents import PACKAGE
from experiments.tools.bench.side import RunSteps
from launch.local import Launch, environment, free_port

DAY = str(24 * 60 * 60)
"""Seconds: the processes are suspended, and so silent, while others are measured."""


def training(*, processes: int, **arguments: Any) -> RunSteps:
    """Chunks of steps of a job whose processes have one virtual device each.

    The processes belong to the group of this one, and are suspended and ended with it.

    Args:
        processes: how many.
        arguments: those of `ours.training`.
    """
    options, address = Launch(processes=processes), f"127.0.0.1:{free_port()}"
    members = [
        subprocess.Popen(
            [sys.executable, "-m", f"{PACKAGE}.child"],
            env=environment(options, address, index) | {HEARTBEAT: DAY},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for index in range(processes)
    ]
    _ask(members, {"target": f"{PACKAGE}.job:member", "arguments": arguments})

    def run(n: int) -> list[float]:
        return _ask(members, {"measure": "run", "steps": n})["numbers"]

    return run


def member(**arguments: Any) -> RunSteps:
    """One process of the job; see `training`."""
    initialize_processes()
    return ours.training(**arguments)


def _ask(members: Sequence[subprocess.Popen], request: Mapping[str, Any]) -> dict[str, Any]:
    """Send a request to all, then wait for all; the answer of the first."""
    for process in members:
        assert process.stdin is not None
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
    answers = []
    for index, process in enumerate(members):
        assert process.stdout is not None
        line = process.stdout.readline()
        answer = json.loads(line) if line else {"error": f"ended with status {process.wait()}"}
        if "error" in answer:
            raise RuntimeError(f"process {index} of the job: {answer['error']}")
        answers.append(answer)
    return answers[0]
