"""A real Slurm on this machine: a job that is stopped goes on, and ends as an undisturbed one.

Needs Debian's slurmctld, slurmd, slurm-client and munge, as root.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import pytest

from experiments.tools.same_results import differences

ROOT = Path(__file__).parents[2]
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, PROGRAMS)),
    reason="needs root and Debian's slurmctld, slurmd, slurm-client and munge",
)

# Task 0 runs on the first node, and JAX asks for its address: it has the name of this machine.
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
ReturnToService=2
KillWait=60
SchedulerParameters=batch_sched_delay=1,sched_interval=2,bf_interval=2
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
StateSaveLocation={folder}/state
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdLogFile={folder}/slurmd.%n.log
SlurmdSpoolDir={folder}/spool.%n
NodeName={host} NodeAddr=127.0.0.1 Port={first} CPUs=1
NodeName={host}-second NodeAddr=127.0.0.1 Port={second} CPUs=1
PartitionName=test Nodes={host},{host}-second Default=YES State=UP
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Runs a command of a Slurm with two nodes, both of them this machine."""
    folder = tmp_path_factory.mktemp("slurm")
    folder.chmod(0o700)
    (folder / "state").mkdir()
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    host, (port, first, second) = socket.gethostname().split(".")[0], free_ports(3)
    configuration = folder / "slurm.conf"
    configuration.write_text(CONFIGURATION.format(**locals()))
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    environment |= {
        "SLURM_CONF": str(configuration),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),
    }

    def command(*words: str, **variables: str) -> str:
        return subprocess.run(
            words,
            cwd=ROOT,
            env=environment | variables,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout.strip()

    names = {"key": "key", "socket": "socket", "pid": "pid", "log": "log", "seed": "seed"}
    files = [f"--{option}-file={folder}/munge.{name}" for option, name in names.items()]
    files[1] = f"--socket={folder}/munge.socket"
    try:
        command("munged", "--force", *files)
        command("slurmctld")
        for node in (host, f"{host}-second"):
            command("slurmd", "-N", node)
        yield command
    finally:
        for pid in folder.glob("*.pid"):
            os.kill(int(pid.read_text()), 15)


def state_of(slurm: Callable[..., str], job: str) -> str:
    return slurm("squeue", "--noheader", "--states", "all", "--jobs", job, "--format", "%T")


def wait_until(done: Callable[[], object], seconds: float = 600.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "Slurm took too long"
        time.sleep(0.2)


def submit(slurm: Callable[..., str], folder: Path) -> str:
    """Submit a job that writes below a folder; its number."""
    words = (
        f"experiments.resnet_cifar --smoke --workdir {folder} --name run "
        "--training.duration '40 steps' --training.save-every '10 steps' "
        "--training.log-every '5 steps' --training.evaluate-every '20 steps'"
    )
    options = ("--nodes=2", "--ntasks-per-node=1", "--gpus-per-node=0", "--cpus-per-task=1")
    folder.mkdir(exist_ok=True)
    log = f"--output={folder}/log"
    return slurm("sbatch", "--parsable", *options, log, "launch/slurm.sbatch", EXPERIMENT=words)


def saved_step(folder: Path) -> int:
    """The step of the latest checkpoint of that job, or 0."""
    names = [path.name for path in (folder / "resnet_cifar/run/checkpoints").glob("*")]
    return max((int(name) for name in names if name.isdecimal()), default=0)


@pytest.mark.full
def test_stopped_jobs_go_on_and_end_as_an_undisturbed_one(
    slurm: Callable[..., str], tmp_path: Path
) -> None:
    def restarts(job: str) -> int:
        return int(re.findall(r"Restarts=(\d+)", slurm("scontrol", "show", "job", job))[0])

    undisturbed = submit(slurm, tmp_path / "undisturbed")
    wait_until(lambda: state_of(slurm, undisturbed) == "COMPLETED")

    # As before the end of its time, the tasks alone get a signal, and the job queues itself again.
    stopped = submit(slurm, tmp_path / "stopped")
    wait_until(lambda: saved_step(tmp_path / "stopped"))
    slurm("scancel", "--signal", "TERM", stopped)
    wait_until(lambda: restarts(stopped) == 1)
    first = saved_step(tmp_path / "stopped")
    assert 0 < first < 40
    # A preemption: Slurm itself stops the job and queues it again.
    wait_until(lambda: saved_step(tmp_path / "stopped") > first)
    slurm("scontrol", "requeue", stopped)
    wait_until(lambda: state_of(slurm, stopped) == "COMPLETED")
    assert restarts(stopped) == 2
    assert differences(tmp_path / "stopped", tmp_path / "undisturbed") == []

    # A job that its user has cancelled saves, and stays away; the same command goes on.
    cancelled = submit(slurm, tmp_path / "cancelled")
    wait_until(lambda: saved_step(tmp_path / "cancelled"))
    slurm("scancel", cancelled)
    wait_until(lambda: state_of(slurm, cancelled) == "CANCELLED")
    assert restarts(cancelled) == 0
    again = submit(slurm, tmp_path / "cancelled")
    wait_until(lambda: state_of(slurm, again) == "COMPLETED")
    assert differences(tmp_path / "cancelled", tmp_path / "undisturbed") == []
