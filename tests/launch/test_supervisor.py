"""The launcher: restarts, signals, and its own death; the processes are small scripts."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cnn_jax.errors import ConfigError
from launch.local import Launch, environment, launch

ROOT = Path(__file__).parents[2]

DIES = """
import os, pathlib, signal, sys
tries = pathlib.Path(sys.argv[1], os.environ["JAX_PROCESS_ID"])
tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
if os.environ["JAX_PROCESS_ID"] == "1" and len(tries.read_text()) <= int(sys.argv[2]):
    os.kill(os.getpid(), signal.SIGKILL)
"""
ENDS = "import os, sys, time; i = os.environ['JAX_PROCESS_ID']; {}"
WAITS = """
import os, pathlib, signal, sys, time
def stop(number, _):
    file.write_text(file.read_text() + signal.Signals(number).name + " ")
    sys.exit(75)
file = pathlib.Path(sys.argv[1], os.environ["JAX_PROCESS_ID"])
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, stop)
file.write_text("ready ")
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("launch.local.LONGEST_WAIT", 0.01)


def test_a_job_whose_process_dies_starts_again(tmp_path, capfd):
    assert launch(Launch(restarts=2), ["-c", DIES, str(tmp_path), "2"]) == 0
    # All of it, each time.
    assert (tmp_path / "0").read_text() == (tmp_path / "1").read_text() == "xxx"
    assert (
        "a process ended by SIGKILL; the job starts again in 0 s (2 of 2)" in capfd.readouterr().err
    )


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's list of processors")
def test_processes_share_the_processors(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(9)))
    monkeypatch.delenv("NPROC", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    of_two = environment(Launch(processes=2), "here:1", 1)
    # What the user has set stays.
    assert (of_two["NPROC"], of_two["OMP_NUM_THREADS"]) == ("4", "5")
    assert environment(Launch(processes=10), "here:1", 1)["NPROC"] == "1"


def test_it_is_given_up_after_the_restarts(tmp_path, capfd):
    assert launch(Launch(restarts=1), ["-c", DIES, str(tmp_path), "9"]) == 128 + signal.SIGKILL
    assert (tmp_path / "0").read_text() == "xx"
    assert "a process ended by SIGKILL; started 2 times, given up" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("sys.exit(2)", 2),
        ("sys.exit(75)", 75),
        # Others that fail by it, even before it, change nothing.
        ("time.sleep(0.5 if i == '0' else 0); sys.exit(2 if i == '0' else 1)", 2),
    ],
)
def test_a_wrong_command_and_a_stop_are_not_repeated(capfd, ending, status):
    assert launch(Launch(), ["-c", ENDS.format(ending)]) == status
    assert "again" not in capfd.readouterr().err


def test_the_others_are_killed_when_one_fails():
    start = time.monotonic()
    program = ENDS.format("sys.exit(3) if i == '1' else time.sleep(60)")
    assert launch(Launch(restarts=0, grace=0.2), ["-c", program]) == 3
    assert time.monotonic() < start + 30


def test_too_few_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    with pytest.raises(ConfigError, match="2 processes of 2 GPUs need more than the 3"):
        launch(Launch(devices=2, platform="cuda"), ["-c", "pass"])


def test_each_process_has_gpus_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    program = (
        "import os, pathlib, sys;"
        "pathlib.Path(sys.argv[1], os.environ['JAX_PROCESS_ID']).write_text("
        "os.environ['CUDA_VISIBLE_DEVICES'])"
    )
    assert launch(Launch(devices=2, platform="cuda"), ["-c", program, str(tmp_path)]) == 0
    assert [(tmp_path / name).read_text() for name in "01"] == ["4,5", "6,7"]


@pytest.mark.parametrize(
    ("number", "told", "status"),
    [(signal.SIGINT, "SIGINT", 75), (signal.SIGHUP, "SIGHUP", 75), (signal.SIGKILL, "SIGTERM", -9)],
)
def test_processes_are_stopped_once_with_their_launcher(tmp_path, number, told, status):
    words = [sys.executable, "-m", "launch.local", "-c", WAITS, str(tmp_path)]
    launcher = subprocess.Popen(words, cwd=ROOT, start_new_session=True)
    files = [tmp_path / "0", tmp_path / "1"]
    _until(lambda: all(file.exists() and file.read_text() for file in files))
    # As a terminal does: to all processes of its session.
    os.killpg(launcher.pid, number)
    assert launcher.wait(30) == status
    _until(lambda: all(told in file.read_text() for file in files))
    assert [file.read_text() for file in files] == [f"ready {told} "] * 2


def _until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
