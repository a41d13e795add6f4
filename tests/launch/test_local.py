"""Several processes on this machine are one device."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from cnn_jax.training import read_metrics
from tests.launch.trained import trained
from tests.tolerance import assert_close
from tests.training.small import some_devices

ROOT = Path(__file__).parents[2]


def run_locally(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    cache = jax.config.jax_compilation_cache_dir
    return subprocess.run(
        [sys.executable, "-m", "launch.local", *words],
        cwd=ROOT,
        env=environment | {"JAX_COMPILATION_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_two_processes_with_two_devices_are_one_device(tmp_path: Path) -> None:
    words = ["-m", "tests.launch.trained", str(tmp_path)]
    job = run_locally("--processes", "2", "--devices", "2", *words)
    assert job.returncode == 0, job.stderr[-4000:]
    for mode in ("jit", "pmap"):
        assert f"{mode} 2 processes 4 devices" in job.stdout
        # One process was asked to stop; both did, at the same step.
        assert job.stdout.count(f"{mode} stopped at step 4 of 10") == 2
    with jax.enable_x64(True):
        expected = trained(tmp_path / "one", some_devices(1))
        four = trained(tmp_path / "four", some_devices(4))
    assert_close(four, expected, rtol=1e-9, atol=1e-12)
    for mode in ("jit", "pmap"):
        # These have restored what two processes had saved.
        actual = dict(np.load(tmp_path / mode / "trained.npz"))
        assert_close(actual, expected, rtol=1e-9, atol=1e-12)
        assert len(read_metrics(tmp_path / mode / "metrics.csv")) == len(expected["rows"])
        # Nothing but the first process and the checkpoints writes.
        written = {path.name for path in (tmp_path / mode).iterdir()}
        assert written == {"checkpoints", "metrics.csv", "trained.npz"}


@pytest.mark.full
def test_a_sweep_in_two_processes_is_that_of_one(tmp_path: Path) -> None:
    summaries = []
    for processes in ("1", "2"):
        words = ["--smoke", "--workdir", str(tmp_path), "--name", processes]
        job = run_locally("--processes", processes, "-m", "experiments.learning_rates", *words)
        assert job.returncode == 0, job.stderr[-4000:]
        summary = json.loads((tmp_path / "learning_rates" / processes / "summary.json").read_text())
        summaries.append({name: summary[name] for name in ("rates", "validation", "test")})
    assert_close(summaries[1], summaries[0], rtol=1e-4)


def test_each_process_is_told_its_place() -> None:
    program = (
        "import os; names = 'JAX_PROCESS_ID', 'JAX_NUM_PROCESSES', 'XLA_FLAGS';"
        # One write, or the lines of two processes would mix.
        " os.write(1, ' '.join(os.environ[name] for name in names).encode() + b'\\n')"
    )
    job = run_locally("--processes", "2", "--devices", "3", "-c", program)
    flag = "--xla_force_host_platform_device_count=3"
    assert sorted(job.stdout.splitlines()) == [f"0 2 {flag}", f"1 2 {flag}"]


@pytest.mark.parametrize("words", [[], ["--processes", "2"]])
def test_nothing_to_run(words: list[str]) -> None:
    job = run_locally(*words)
    assert job.returncode == 2
    assert "nothing to run; add -m MODULE" in job.stderr
