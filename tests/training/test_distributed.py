"""Processes of a job: how they find each other, agree, and fail."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cnn_jax.errors import ConfigError
from cnn_jax.training import initialize_processes
from tests.launch.test_local import ROOT, run_locally

ALL = {
    "JAX_COORDINATOR_ADDRESS": "127.0.0.1:9",
    "JAX_NUM_PROCESSES": "2",
    "JAX_PROCESS_ID": "1",
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"JAX_NUM_PROCESSES": ""}, "is set without JAX_NUM_PROCESSES; a process needs all"),
        ({"JAX_NUM_PROCESSES": "two"}, "JAX_NUM_PROCESSES is a number from 1, got two"),
        (
            {"JAX_PROCESS_ID": "2"},
            "JAX_PROCESS_ID=2, but JAX_NUM_PROCESSES=2: numbers go from 0",
        ),
        ({"JAX_COORDINATOR_ADDRESS": "host"}, "HOST:PORT of process 0, got host"),
        ({"CNN_JAX_DISTRIBUTED": "yes"}, "CNN_JAX_DISTRIBUTED is 1 .*, got yes"),
        ({"CNN_JAX_START_SECONDS": "0"}, "CNN_JAX_START_SECONDS is a number from 1, got 0"),
    ],
)
def test_a_wrong_environment_is_named(monkeypatch, change, message):
    for name, value in (ALL | change).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message):
        initialize_processes()


def test_a_port_in_use_is_named(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for name, value in (ALL | {"JAX_COORDINATOR_ADDRESS": address}).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("JAX_PROCESS_ID", "0")
        with pytest.raises(ConfigError, match=f"the port of {re.escape(address)} is in use"):
            initialize_processes()


def test_a_job_without_a_cluster_is_named(monkeypatch):
    for name in ALL:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CNN_JAX_DISTRIBUTED", "1")
    with pytest.raises(ConfigError, match="finds no job of several processes here"):
        initialize_processes()


def test_a_process_that_waits_in_vain_says_so():
    program = "from cnn_jax.training import initialize_processes; initialize_processes()"
    job = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | ALL | {"CNN_JAX_START_SECONDS": "7"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert job.returncode == 1
    waits = "process 1 of 2 waits for the other processes of the job, process 0 at 127.0.0.1:9\n"
    assert waits in job.stderr
    last = job.stderr.splitlines()[-1]
    assert last.startswith("error: process 1 of 2 waited 7 s (CNN_JAX_START_SECONDS) in vain")


TOGETHER = """
import os, sys
from pathlib import Path
import jax
from cnn_jax.errors import UserError
from cnn_jax.training import initialize_processes, leaving_soon
from cnn_jax.training.distributed import check_shared, failing_together

def tell(text):
    os.write(1, f"{jax.process_index()} {text}\\n".encode())

with leaving_soon(0.5):
    initialize_processes()
    mine = jax.process_index()
    with failing_together():
        pass
    try:
        with failing_together():
            if mine == 0:
                raise UserError("what was wrong")
    except UserError as error:
        tell(error)
    check_shared(Path(sys.argv[1]))
    tell(sorted(path.name for path in Path(sys.argv[1]).glob("shared*") if mine == 0))
    other = Path(sys.argv[1], str(mine))
    other.mkdir()
    try:
        check_shared(other)
    except UserError as error:
        tell(str(error).replace(str(other), "DIR"))
    if mine == 1:
        raise ValueError("what has failed")
    import time
    time.sleep(60)
    tell("has waited")
"""


def test_processes_agree_and_fail_together(tmp_path: Path):
    job = run_locally("--restarts", "0", "--grace", "0.2", "-c", TOGETHER, str(tmp_path))
    assert job.returncode == 1
    lines = set(job.stdout.splitlines())
    assert {"0 what was wrong", "1 process 1 ends because of the error of 0", "0 []"} <= lines
    assert "0 process 0 ends because of the error of 1" in lines
    assert any(re.match(r"1 DIR on .* is not the directory of process 0", one) for one in lines)
    assert "what has failed" in job.stderr
    assert not any("has waited" in one for one in lines)


STOPPED = """
import os, signal, time
import jax, numpy as np
from jax.experimental import multihost_utils
from cnn_jax.training import initialize_processes
from cnn_jax.training.distributed import HangWatch
initialize_processes()
class State:
    step = 7
watch = HangWatch()
multihost_utils.process_allgather(np.ones(1))
if jax.process_index() == 1:
    os.kill(os.getpid(), signal.SIGSTOP)
watch.watched(lambda state: multihost_utils.process_allgather(np.ones(1)))(State())
"""


def test_a_stopped_process_ends_the_job_and_the_stacks_are_told(monkeypatch):
    monkeypatch.setenv("CNN_JAX_HEARTBEAT_SECONDS", "6")
    monkeypatch.setenv("CNN_JAX_HANG_SECONDS", "1")
    start = time.monotonic()
    job = run_locally("--restarts", "0", "--grace", "0.2", "-c", STOPPED)
    assert job.returncode not in (0, 128 + signal.SIGKILL)
    assert time.monotonic() < start + 60
    assert "process 0 of 2 on" in job.stderr and "is at step 7 for 1 s" in job.stderr
    assert "process_allgather" in job.stderr
