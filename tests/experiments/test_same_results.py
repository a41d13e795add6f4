"""What differs between two runs is found."""

import json
import shutil

import numpy as np
import pytest

from cnn_jax.data import DataConfig
from cnn_jax.training import Checkpoints
from experiments.tools.same_results import count_arrays, differences
from tests.experiments.small_run import finish, make_run


@pytest.fixture
def runs(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    make_run(one, DataConfig(name="digits"))
    finish(one, 0.5)
    shutil.copytree(one, other)
    return one, other


def test_equal_runs(runs):
    one, other = runs
    summary = json.loads((one / "summary.json").read_text())
    (other / "summary.json").write_text(json.dumps(summary | {"train_seconds": 7.0}))
    assert differences(one, other) == []
    assert count_arrays(one) == 2  # kernel and bias


def test_files_that_only_one_has(runs):
    one, other = runs
    (one / "figures").mkdir()
    (one / "figures" / ".curves.png.7.partial").write_bytes(b"half")
    (other / "lock").touch()
    assert differences(one, other) == [
        "figures/.curves.png.7.partial: in one directory only",
        "lock: in one directory only",
    ]


def test_rows_and_final_metrics(runs):
    one, other = runs
    finish(other, 0.6)
    assert differences(one, other) == [
        "metrics.csv differs: 4 and 4 rows, from step 1",
        "summary.copy.json differs",
        "summary.json differs",
    ]


def test_arrays(runs):
    one, other = runs
    shutil.rmtree(other / "checkpoints")
    checkpoints = Checkpoints(other / "checkpoints", best_metric="accuracy")
    params = {"head": {"bias": np.zeros(10, np.float32)}}
    checkpoints.save(3, {"state": {"params": params, "model_state": {}}})
    checkpoints.close()
    (line,) = differences(one, other)[:1]
    assert line.startswith("checkpoints/3/arrays: ['state']['params']") and "differs" in line
