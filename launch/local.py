"""Run a command as several processes of one job, on this machine.

    python -m launch.local --processes 2 --devices 2 -m experiments.resnet_cifar --smoke
    python -m launch.local --processes 4 --platform cuda -m experiments.resnet_imagenet

The processes join each other through ``jax.distributed``. If one of them dies, the others are
ended and the whole job is started again, to go on from its last checkpoint. A signal to the
launcher goes to all processes, which save the same step and end. When the launcher itself is
killed, they do the same.

Exit status: 0, the command has finished; 75, it was stopped and has saved, and the same command
goes on with it; 2, the command line or the data are wrong; otherwise that of the process that
died first, 128 and its number for a signal.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import tyro

from cnn_jax.data.stream import STOP_SIGNALS
from cnn_jax.errors import ConfigError, check_range
from cnn_jax.training.distributed import ADDRESS, COUNT, INDEX, SWITCH
from cnn_jax.training.signals import INTERRUPTED

WRONG = 2
"""Exit status of a process whose command line or data are wrong: it would be again."""
LONGEST_WAIT = 60.0
"""Largest number of seconds until a job is started again."""
THREADS = ("OMP_NUM_THREADS", "NPROC")
"""Environment variables for the number of threads, of oneDNN and of XLA's CPU backend, of which
each process has its share. It helps on a busy machine; see BENCHMARKS.md, Devices."""
DEATH_SIGNAL = 1
"""Linux's option of prctl for the signal that a process gets when its parent has died."""


@dataclass(frozen=True)
class Launch:
    """Run a Python command as several processes of one job on this machine."""

    processes: int = 2
    """Number of processes."""
    devices: int = 1
    """Devices of each process."""
    platform: Literal["cpu", "cuda"] = "cpu"
    """cpu: virtual devices; cuda: each process sees GPUs of its own."""
    restarts: int = 3
    """Largest number of times that the job is started again after a process has died."""
    grace: float = 5.0
    """Seconds until the other processes are killed after one has failed."""
    save_grace: float = 60.0
    """Seconds until all processes are killed after a signal to the launcher."""

    def __post_init__(self) -> None:
        check_range(self, 1, processes=self.processes, devices=self.devices)
        check_range(self, 0, restarts=self.restarts, grace=self.grace, save_grace=self.save_grace)


class Supervisor:
    """Starts a job, waits for it, and starts it again when a process has died."""

    def __init__(self, options: Launch, words: Sequence[str]) -> None:
        self._options, self._words = options, words
        self._processes: list[subprocess.Popen] = []
        self._stopped_at: float | None = None
        """When the launcher was asked to stop."""

    def run(self) -> int:
        """The exit status of the job."""
        before = {number: signal.signal(number, self._forward) for number in STOP_SIGNALS}
        try:
            for restart in range(self._options.restarts + 1):
                statuses = self._once()
                status = _of_job(statuses)
                if status in (0, WRONG, INTERRUPTED) or self._stopped_at is not None:
                    return status
                if restart < self._options.restarts:
                    self._wait(min(2.0**restart, LONGEST_WAIT), restart, statuses)
                    if self._stopped_at is not None:
                        return status
            if restart:
                _tell(f"{_ends(statuses)}; started {restart + 1} times, given up")
            return status
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _once(self) -> list[int]:
        """Start all processes and wait for them; their statuses, the first to fail first."""
        address = f"127.0.0.1:{free_port()}"
        count = self._options.processes
        self._processes = []
        for variables in [environment(self._options, address, i) for i in range(count)]:
            process = subprocess.Popen(
                [sys.executable, *self._words],
                env=variables,
                # The signals of a terminal come by the launcher, once.
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
            self._processes.append(process)
        if self._stopped_at is not None:
            self._forward(signal.SIGTERM, None)
        ended: list[int] = []
        failed_at: float | None = None
        left = list(self._processes)
        while left:
            for process in [one for one in left if one.poll() is not None]:
                left.remove(process)
                ended.append(process.returncode)
                if process.returncode not in (0, INTERRUPTED):
                    failed_at = failed_at or time.monotonic()
            if _is_over(failed_at, self._options.grace) or _is_over(
                self._stopped_at, self._options.save_grace
            ):
                for process in left:
                    process.kill()
            time.sleep(0.05)
        return ended

    def _forward(self, number: int, _: Any) -> None:
        self._stopped_at = self._stopped_at or time.monotonic()
        for process in self._processes:
            process.send_signal(number)

    def _wait(self, seconds: float, restart: int, statuses: Sequence[int]) -> None:
        _tell(
            f"{_ends(statuses)}; the job starts again in {seconds:.0f} s "
            f"({restart + 1} of {self._options.restarts})"
        )
        end = time.monotonic() + seconds
        while self._stopped_at is None and time.monotonic() < end:
            time.sleep(0.05)


def launch(options: Launch, words: Sequence[str]) -> int:
    """Run the words of a Python command as the processes of a job; its exit status."""
    return Supervisor(options, words).run()


def _of_job(statuses: Sequence[int]) -> int:
    """The status of a job: that of a wrong command, of a stop, or of the first that failed."""
    for status in (WRONG, INTERRUPTED):
        if status in statuses:
            return status
    first = next((status for status in statuses if status), 0)
    return 128 - first if first < 0 else first


def _ends(statuses: Sequence[int]) -> str:
    first = next(status for status in statuses if status)
    how = f"by {signal.Signals(-first).name}" if first < 0 else f"with status {first}"
    return f"a process ended {how}"


def _is_over(since: float | None, seconds: float) -> bool:
    return since is not None and time.monotonic() > since + seconds


def _end_with_parent() -> None:
    """Let this new process be asked to stop when the launcher dies, be it by SIGKILL."""
    if sys.platform == "linux":
        _LIBC.prctl(DEATH_SIGNAL, signal.SIGTERM)


# Loaded before the fork, after which a process with threads may not load anything.
_LIBC = ctypes.CDLL(None)


def environment(options: Launch, address: str, index: int) -> dict[str, str]:
    """The environment of one process of a job, by which it finds the others and its devices."""
    variables = {
        **{name: value for name, value in os.environ.items() if name != SWITCH},
        ADDRESS: address,
        COUNT: str(options.processes),
        INDEX: str(index),
    }
    if options.platform == "cpu":
        flags = os.environ.get("XLA_FLAGS", "")
        count = f"--xla_force_host_platform_device_count={options.devices}"
        variables |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"{flags} {count}".strip()}
        return dict.fromkeys(THREADS, str(_share(options.processes))) | variables
    first = index * options.devices
    there = os.environ.get("CUDA_VISIBLE_DEVICES")
    seen = there.split(",") if there else [str(i) for i in range(first + options.devices)]
    mine = seen[first : first + options.devices]
    if len(mine) < options.devices:
        raise ConfigError(
            f"{options.processes} processes of {options.devices} GPUs need more than the "
            f"{len(seen)} of CUDA_VISIBLE_DEVICES"
        )
    return variables | {"CUDA_VISIBLE_DEVICES": ",".join(mine)}


def _share(processes: int) -> int:
    """The processors of this machine for each process."""
    there = os.cpu_count() or 1
    if sys.platform == "linux":
        there = len(os.sched_getaffinity(0))
    return max(1, there // processes)


def free_port() -> int:
    """A port of this machine that is free now."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def _tell(text: str) -> None:
    print(f"launch: {text}", file=sys.stderr, flush=True)


def main() -> None:
    """Parse the options, then run the rest of the command line with Python."""
    words = sys.argv[1:]
    cut = next((i for i, word in enumerate(words) if word in ("-m", "-c")), len(words))
    try:
        options = tyro.cli(
            Launch, prog="python -m launch.local", description=__doc__, args=words[:cut]
        )
        if cut == len(words):
            raise ConfigError("nothing to run; add -m MODULE and its arguments")
        status = launch(options, words[cut:])
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        status = WRONG
    raise SystemExit(status)


if __name__ == "__main__":
    main()
