"""From process start to the first row of metrics.csv, for resnet_cifar on digits: seconds.

A cold compilation cache is compared with a warm one. All other caches are warm for both.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from cnn_jax.errors import check_range
from experiments.tools.bench.comparison import Comparison
from experiments.tools.bench.options import Rounds
from experiments.tools.bench.processes import ROOT, SideFailed

PATIENCE_SECONDS = 600.0


@dataclass(frozen=True)
class Options(Rounds):
    """Time from the start of a process to its first finished step."""

    depth: int = 20
    """Layers of the residual network."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, 8, depth=self.depth)


def measure(options: Options, console: Console) -> Iterable[Comparison]:
    """Start in pairs, a cold start and then a warm one."""
    with tempfile.TemporaryDirectory(prefix="bench_startup_") as temporary:
        directory = Path(temporary)
        # Warms the other caches: file pages, compiled Python, fonts, the library of oneDNN calls.
        first_step_seconds(directory, "before", options.depth)
        cold, warm = [], []
        for number in range(options.rounds):
            # The second start finds the compiled programs of the first.
            cold.append(first_step_seconds(directory, f"cache{number}", options.depth))
            warm.append(first_step_seconds(directory, f"cache{number}", options.depth))
    title = f"resnet_cifar --depth {options.depth}, digits: process start to first finished step"
    return [Comparison(title, "s", {"warm cache": warm, "cold cache": cold})]


def first_step_seconds(directory: Path, cache: str, depth: int) -> float:
    """Start a training with a compilation cache, and stop it after its first step."""
    workdir = Path(tempfile.mkdtemp(dir=directory))
    environ = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(directory / cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    command = [sys.executable, "-m", "experiments.resnet_cifar", "--workdir", str(workdir)]
    command += ["--name", "run", "--data.name", "digits", "--depth", str(depth)]
    command += ["--training.log-every", "1 step"]
    metrics = workdir / "resnet_cifar" / "run" / "metrics.csv"
    with (workdir / "output.txt").open("w") as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=output, stderr=output)
        try:
            while not metrics.exists() or metrics.read_text().count("\n") < 2:
                if process.poll() is not None or time.perf_counter() - start > PATIENCE_SECONDS:
                    said = (workdir / "output.txt").read_text()
                    raise SideFailed(f"resnet_cifar made no first step. Its output:\n{said}")
                time.sleep(0.005)
            return time.perf_counter() - start
        finally:
            process.kill()
            process.wait()
