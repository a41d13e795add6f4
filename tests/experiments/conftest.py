"""Experiments run in this process, through the same door as from the command line."""

import runpy
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import jax
import pytest

Start = Callable[..., None]


@pytest.fixture(autouse=True)
def same_compilation_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs leave the tests' compilation cache as it is set, and started processes share it."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", jax.config.jax_compilation_cache_dir)
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """`start(experiment, *flags)` is `python -m experiments.experiment --workdir … flags`."""

    def start(experiment: str, *flags: str, workdir: Path = tmp_path) -> None:
        words = [f"experiments/{experiment}.py", "--workdir", str(workdir), *flags]
        monkeypatch.setattr(sys, "argv", words)
        with warnings.catch_warnings():
            # runpy says that the module has been imported before, by another experiment.
            warnings.filterwarnings("ignore", ".*found in sys.modules", RuntimeWarning)
            runpy.run_module(f"experiments.{experiment}", run_name="__main__", alter_sys=True)

    return start
