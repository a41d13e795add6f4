"""Experiments run in this process, through the same door as from the command line."""

import runpy
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from cnn_jax.data.stream import STOP_SIGNALS
from cnn_jax.models import create_model
from cnn_jax.pretrained import Network, Preprocessing

Start = Callable[..., None]


@pytest.fixture(autouse=True)
def same_compilation_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs leave the tests' compilation cache as it is set, and started processes share it."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", jax.config.jax_compilation_cache_dir)
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")


@pytest.fixture(scope="session", autouse=True)
def untrained_own_network() -> Iterator[None]:
    """The network that style transfer trains for itself has random weights."""

    def untrained() -> Network:
        model = create_model("cifar_vgg9")
        variables = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
        preprocessing = Preprocessing(0, 0, (0.5,) * 3, (0.25,) * 3)
        return Network(model, dict(variables), preprocessing, (), "our own small VGG")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("experiments.tools.style_network.own_network", untrained)
        yield


@pytest.fixture
def same_signal_handlers() -> Iterator[None]:
    """A run that was asked to stop ignores further signals until the process ends."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same_signal_handlers: None) -> Start:
    """`start(experiment, *flags)` is `python -m experiments.experiment --workdir … flags`."""

    def start(experiment: str, *flags: str, workdir: Path = tmp_path) -> None:
        words = [f"experiments/{experiment}.py", "--workdir", str(workdir), *flags]
        monkeypatch.setattr(sys, "argv", words)
        with warnings.catch_warnings():
            # runpy says that the module has been imported before, by another experiment.
            warnings.filterwarnings("ignore", ".*found in sys.modules", RuntimeWarning)
            runpy.run_module(f"experiments.{experiment}", run_name="__main__", alter_sys=True)

    return start
