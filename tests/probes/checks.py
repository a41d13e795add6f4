"""What every probe shows: resumed to the bit, and the same on one device and on eight."""

import math
import re
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from cnn_jax.training import (
    Experiment,
    Interrupted,
    Parallel,
    Program,
    Result,
    make_parallel,
    train,
)
from tests.tolerance import assert_close
from tests.training.small import one_device, wide


def run(experiment: Experiment, directory: Path, parallel: Parallel | None = None) -> Result:
    directory.mkdir(exist_ok=True)
    return train(experiment, directory, parallel or one_device(), seed=3, title="probe")


def check_resume(
    experiment: Experiment, directory: Path, monkeypatch: pytest.MonkeyPatch, *, stop: int
) -> Result:
    """A run that is stopped after a step and resumed is the uninterrupted one, to the bit."""
    whole = run(experiment, directory / "whole")
    with monkeypatch.context() as patch:
        stopped = nullcontext(lambda step: step >= stop)
        patch.setattr(sys.modules[train.__module__], "stop_signals", lambda: stopped)
        with pytest.raises(Interrupted):
            run(experiment, directory / "parts")
    parts = run(experiment, directory / "parts")
    jax.tree.map(np.testing.assert_array_equal, parts.variables, whole.variables)
    texts = [(directory / name / "metrics.csv").read_bytes() for name in ("whole", "parts")]
    assert texts[0] == texts[1]
    assert parts.summary["validation"] == whole.summary["validation"]
    return whole


def check_devices(
    experiment: Experiment, directory: Path, modes: tuple[Any, ...] = ("jit", "pmap")
) -> None:
    """In float64, eight devices train the network that one device trains."""
    experiment = replace(experiment, initialize=lambda fresh, earlier: wide(fresh))
    with jax.enable_x64(True):
        one = run(experiment, directory / "one")
        for mode in modes:
            many = run(experiment, directory / mode, make_parallel(mode))
            assert_close(many.variables, one.variables, rtol=1e-9, atol=1e-12)
            assert_close(many.summary["validation"], one.summary["validation"], rtol=1e-6)


def check_in_place(program: Program, batch: Any, table: tuple[int, int]) -> None:
    """A loop of steps updates the state's two tables row by row, and never copies one.

    So a step takes the same time whatever the number of rows.
    """
    state = program.init(jax.random.key(0), lambda variables: variables)

    def steps(state: Any, n: Any) -> Any:
        return jax.lax.fori_loop(0, n, lambda _, s: program.train_step(s, batch)[0], state)

    compiled = jax.jit(steps, donate_argnums=0).lower(state, 3).compile()
    memory = compiled.memory_analysis()
    assert memory.alias_size_in_bytes >= 2 * math.prod(table) * 4
    assert memory.temp_size_in_bytes < 50_000
    shape = rf"= f32\[{table[0]},{table[1]}\]\S* (\w[\w-]*)\("
    makers = set(re.findall(shape, compiled.as_text()))
    assert makers <= {"parameter", "get-tuple-element", "fusion", "scatter"}, makers
