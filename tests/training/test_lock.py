"""One process at a time writes to a directory."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cnn_jax.errors import UserError
from cnn_jax.training import DirectoryInUse
from cnn_jax.training.lock import LOCK, locked

HOLDER = """
import sys, time
from pathlib import Path
from cnn_jax.training.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_lock_is_held_until_its_process_is_killed(tmp_path: Path) -> None:
    words = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(DirectoryInUse, match=f"is in use by process {holder.pid} on .*--name"),
            locked(tmp_path),
        ):
            pass
        assert (tmp_path / LOCK).exists()
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    with locked(tmp_path):
        assert (tmp_path / LOCK).read_text().startswith(f"process {os.getpid()} on ")
        with locked(tmp_path):  # a run holds it around its training, which takes it too
            pass
        assert (tmp_path / LOCK).exists()
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match="cannot write to the run directory .*--workdir"),
        locked(tmp_path / "file" / "run"),
    ):
        pass
