"""Run a command as several processes of one job, on this machine.

    python -m launch.local --processes 2 --devices 2 -m experiments.resnet_cifar --smoke

Each process has its own CPU devices and joins the others through ``jax.distributed``, to test
multi-host code on one machine. If one process fails, the others are stopped.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass

import tyro

from cnn_jax.data.stream import STOP_SIGNALS


@dataclass(frozen=True)
class Launch:
    """Run a Python command as several processes of one job on this machine."""

    processes: int = 2
    """Number of processes."""
    devices: int = 1
    """Virtual CPU devices of each process."""
    grace: float = 10.0
    """Seconds until the other processes are killed after one has failed."""


def launch(options: Launch, words: list[str]) -> int:
    """Start the processes and wait for them. Returns the first nonzero exit status, or 0."""
    address = f"127.0.0.1:{_free_port()}"
    processes = [
        subprocess.Popen([sys.executable, *words], env=_environment(options, address, index))
        for index in range(options.processes)
    ]

    def forward(number: int, _: object) -> None:
        for process in processes:
            process.send_signal(number)

    for number in STOP_SIGNALS:
        signal.signal(number, forward)

    failed, deadline = 0, 0.0
    while any(process.poll() is None for process in processes):
        if not failed and (failed := _first_bad(processes)):
            deadline = time.monotonic() + options.grace
        if failed and time.monotonic() > deadline:
            for process in processes:
                process.kill()
        time.sleep(0.1)
    # Not the status of processes that were killed.
    return failed or _first_bad(processes)


def _first_bad(processes: list[subprocess.Popen]) -> int:
    return next((process.returncode for process in processes if process.poll()), 0)


def _environment(options: Launch, address: str, index: int) -> dict[str, str]:
    flags = os.environ.get("XLA_FLAGS", "")
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count={options.devices}".strip(),
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_NUM_PROCESSES": str(options.processes),
        "JAX_PROCESS_ID": str(index),
    }


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def main() -> None:
    """Parse the options, then run the rest of the command line with Python."""
    words = sys.argv[1:]
    cut = next((i for i, word in enumerate(words) if word in ("-m", "-c")), len(words))
    options = tyro.cli(Launch, prog="python -m launch.local", args=words[:cut])
    if cut == len(words):
        raise SystemExit("error: nothing to run; add -m MODULE and its arguments")
    raise SystemExit(launch(options, words[cut:]))


if __name__ == "__main__":
    main()
