"""The processes of a job: how they find each other, which one writes, and how they end together."""

import faulthandler
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from cnn_jax.errors import ConfigError, UserError

ADDRESS, COUNT, INDEX = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
"""Environment variables that say together which process of which job this is."""
SWITCH = "CNN_JAX_DISTRIBUTED"
"""Environment variable: 1 joins what JAX detects (needed on TPU pods), 0 stays alone."""
START = "CNN_JAX_START_SECONDS"
"""Environment variable: how long a process waits for the others at its start."""
HEARTBEAT = "CNN_JAX_HEARTBEAT_SECONDS"
"""Environment variable: how long a process may be silent until the job ends."""
HANG = "CNN_JAX_HANG_SECONDS"
"""Environment variable: after how long without a step the stacks are printed."""
SECONDS = {START: 300, HEARTBEAT: 10, HANG: 900}
"""Defaults of the times."""
TASKS = {"SLURM_STEP_NUM_TASKS": "Slurm", "OMPI_COMM_WORLD_SIZE": "Open MPI"}
"""Number of tasks of a step, by the scheduler that sets it."""
TELL_AFTER = 5.0
"""Seconds until a process says what it waits for at its start."""
SHUTDOWN = 60
"""Seconds that a process waits for the others at its end."""


def initialize_processes() -> None:
    """Join the other processes of the job, if there are any.

    A job is recognised by ``JAX_COORDINATOR_ADDRESS``, ``JAX_NUM_PROCESSES`` and
    ``JAX_PROCESS_ID``, which ``python -m launch.local`` sets, or by the tasks of a Slurm step or of
    Open MPI. With ``CNN_JAX_DISTRIBUTED=1`` JAX detects it, on TPU pods and in Kubernetes too; with
    0 the process stays alone.

    Raises:
        ConfigError: a variable is missing or wrong, there is no cluster, or the processes do not
            find each other.
    """
    switch = os.environ.get(SWITCH, "")
    if switch not in ("", "0", "1"):
        raise ConfigError(f"{SWITCH} is 1 (join the job), 0 (stay alone) or not set, got {switch}")
    given = {name: os.environ[name] for name in (ADDRESS, COUNT, INDEX) if os.environ.get(name)}
    scheduler = next((TASKS[name] for name in TASKS if _number(name) > 1), "")
    if switch == "0" or not (given or scheduler or switch):
        return
    place = _place(given) if given else {}
    if given and place["process_id"] == 0 and _is_taken(given[ADDRESS]):
        raise ConfigError(f"the port of {given[ADDRESS]} is in use; give another in {ADDRESS}")
    seconds = _number(START)
    who = (
        f"process {given[INDEX]} of {given[COUNT]}"
        if given
        else f"this task of {scheduler or 'the job'}"
    )
    where = f", process 0 at {given[ADDRESS]}" if given else ""
    with (
        _after(TELL_AFTER, _tell, f"{who} waits for the other processes of the job{where}"),
        _after(seconds, _give_up, f"{who} waited {seconds} s ({START}) in vain{where}"),
    ):
        _join(place, seconds)


def _join(place: Mapping[str, Any], seconds: int) -> None:
    try:
        jax.distributed.initialize(
            **place,
            # JAX's own end is a core dump: ours comes before.
            initialization_timeout=2 * seconds,
            heartbeat_timeout_seconds=_number(HEARTBEAT),
            shutdown_timeout_seconds=SHUTDOWN,
        )
    except (ValueError, RuntimeError) as error:
        raise ConfigError(
            f"JAX finds no job of several processes here ({str(error).splitlines()[0]}). Start the "
            f"command by Slurm, Open MPI or on a TPU pod, set {ADDRESS}, {COUNT} and {INDEX}, or "
            f"run alone with {SWITCH}=0"
        ) from None


def _place(given: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of `jax.distributed.initialize` that the environment gives."""
    missing = [name for name in (ADDRESS, COUNT, INDEX) if name not in given]
    if missing:
        raise ConfigError(
            f"{', '.join(given)} is set without {' and '.join(missing)}; a process needs all three "
            "(HOST:PORT of process 0, number of processes, its own number from 0), or none to run "
            "alone"
        )
    count, index = _number(COUNT), _number(INDEX, least=0)
    if index >= count:
        raise ConfigError(f"{INDEX}={index}, but {COUNT}={count}: numbers go from 0 to {count - 1}")
    host, _, port = given[ADDRESS].rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"{ADDRESS} is HOST:PORT of process 0, got {given[ADDRESS]}")
    return {"coordinator_address": given[ADDRESS], "num_processes": count, "process_id": index}


def _number(name: str, *, least: int = 1) -> int:
    """A number in the environment; where there is none, its default, or 1.

    Raises:
        ConfigError: it is none, or below the least.
    """
    text = os.environ.get(name) or str(SECONDS.get(name, 1))
    if not text.isdigit() or int(text) < least:
        raise ConfigError(f"{name} is a number from {least}, got {text}")
    return int(text)


@contextmanager
def _after(seconds: float, function: Callable[[str], None], text: str) -> Iterator[None]:
    """Call the function if what is inside takes longer."""
    timer = threading.Timer(seconds, function, (text,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _give_up(text: str) -> None:
    _tell(
        f"error: {text}. All processes of a job start with the same address and number of "
        "processes, and reach process 0 over the network"
    )
    _leave(1)


def _tell(text: str) -> None:
    # One write, or the lines of several processes would mix.
    os.write(2, f"{text}\n".encode())


def _is_taken(address: str) -> bool:
    with socket.socket() as server:
        # What an earlier job has closed may be taken again at once.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("", int(address.rpartition(":")[2])))
        except OSError:
            return True
    return False


def is_primary() -> bool:
    """Whether this process writes files and talks to the user."""
    return jax.process_index() == 0


@contextmanager
def failing_together() -> Iterator[None]:
    """Let all processes of a job fail where one does, rather than wait for it.

    Nothing inside of it may wait for the other processes.

    Raises:
        UserError: another process has failed by such an error; its message is there.
    """
    if jax.process_count() == 1:
        yield
        return
    mine: UserError | None = None
    try:
        yield
    except UserError as error:
        mine = error
    failed = np.flatnonzero(multihost_utils.process_allgather(np.bool_(mine is not None)))
    if mine is not None:
        raise mine
    if failed.size:
        others = ", ".join(map(str, failed))
        raise UserError(f"process {jax.process_index()} ends because of the error of {others}")


def check_shared(directory: Path) -> None:
    """Check that all processes of the job see the same directory; all of them call it.

    Raises:
        ConfigError: one of them does not.
    """
    if jax.process_count() == 1:
        return
    token = np.frombuffer(os.urandom(4), np.uint32)
    file = directory / f"shared-{int(multihost_utils.broadcast_one_to_all(token)[0]):08x}"
    with failing_together():
        if is_primary():
            file.touch()
    with failing_together():
        if not file.exists():
            raise ConfigError(
                f"{directory} on {socket.gethostname()} is not the directory of process 0; all "
                "hosts need one that they share, by --workdir, for its checkpoints"
            )
    if is_primary():
        file.unlink()


@contextmanager
def leaving_soon(grace: float = 2.0) -> Iterator[None]:
    """Let a process that fails inside of it end soon, with its error as the last thing it says.

    At the exit JAX waits for the other processes of a job, which may be waiting for this one. All
    processes that fail together still leave together.

    Args:
        grace: seconds until this process ends itself.
    """
    try:
        yield
    except BaseException as error:
        if jax.distributed.is_initialized():
            status = error.code if isinstance(error, SystemExit) else 1
            timer = threading.Timer(grace, _leave, (status if isinstance(status, int) else 1,))
            timer.daemon = True
            timer.start()
        raise


def _leave(status: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class HangWatch:
    """Prints the stacks of a process of a job that makes no step for long.

    A process that waits for another one in a collective operation says nothing by itself.
    """

    def __init__(self) -> None:
        self._seconds = _number(HANG)
        self._timer: threading.Timer | None = None

    def watched(self, advance: Callable) -> Callable:
        """The function, whose every call begins the wait anew."""
        if jax.process_count() == 1:
            return advance

        def watching(state: Any, *arguments: Any) -> Any:
            self.close()
            self._timer = threading.Timer(self._seconds, self._report, (int(state.step),))
            self._timer.daemon = True
            self._timer.start()
            return advance(state, *arguments)

        return watching

    def close(self) -> None:
        """End the watch."""
        if self._timer is not None:
            self._timer.cancel()

    def _report(self, step: int) -> None:
        _tell(
            f"process {jax.process_index()} of {jax.process_count()} on {socket.gethostname()} is "
            f"at step {step} for {self._seconds} s ({HANG}). The stacks of its threads:"
        )
        faulthandler.dump_traceback(all_threads=True)
