"""The launcher finishes a training by itself, whatever process is killed, whenever."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from experiments.tools.same_results import differences

ROOT = Path(__file__).parents[2]
KILLS = 10
COMMAND = (
    "experiments.mlp_fashion_mnist --loss softmax --hidden 16 --data.name digits --name run "
    "--training.duration 400steps --training.batch-size 64 --training.eval-batch-size 32 "
    "--training.log-every 20steps --training.evaluate-every 40steps --training.save-every 10steps"
)


def started(processes: int, workdir: Path) -> subprocess.Popen:
    options = ["--processes", str(processes), "--restarts", str(2 * KILLS)]
    command = [*COMMAND.split(), "--workdir", str(workdir)]
    words = [sys.executable, "-m", "launch.local", *options, "-m", *command]
    with (workdir / "output").open("ab") as output:
        return subprocess.Popen(words, cwd=ROOT, stdout=output, stderr=output)


def processes_of(launcher: subprocess.Popen) -> list[int]:
    try:
        path = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children")
        return [int(word) for word in path.read_text().split()]
    except FileNotFoundError:
        return []


@pytest.mark.full
@pytest.mark.parametrize("processes", [2, 4])
def test_a_killed_job_is_an_undisturbed_one_to_the_bit(tmp_path, processes):
    chance, kills, jobs, lost = random.Random(processes), 0, 0, 0.0
    (tmp_path / "calm").mkdir()
    start = time.monotonic()
    assert started(processes, tmp_path / "calm").wait() == 0
    undisturbed = time.monotonic() - start
    while kills < KILLS:
        # A job may also end before it is attacked.
        workdir = tmp_path / f"attacked-{jobs}"
        workdir.mkdir()
        jobs += 1
        start = time.monotonic()
        launcher = started(processes, workdir)
        while launcher.poll() is None and kills < KILLS:
            # From the start-up to the last save: the whole of an undisturbed run.
            time.sleep(chance.uniform(0, undisturbed))
            if there := processes_of(launcher):
                with suppress(ProcessLookupError):
                    os.kill(chance.choice(there), signal.SIGKILL)
                    kills += 1
        assert launcher.wait() == 0, (workdir / "output").read_text()[-3000:]
        lost += time.monotonic() - start - undisturbed
        run = Path("mlp_fashion_mnist", "run")
        lines = differences(tmp_path / "calm" / run, workdir / run)
        assert lines == [], lines
    print(f"{kills} kills of {processes} processes, in {jobs} jobs, cost {lost / kills:.1f} s each")
    outputs = [path.read_text() for path in tmp_path.glob("attacked-*/output")]
    assert sum(text.count(signal.SIGKILL.name) for text in outputs) >= 1
