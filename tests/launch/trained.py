"""Trains a small network in each way, with a stop in the middle; run by test_local.py.

python -m launch.local --processes 2 --devices 2 -m tests.launch.trained DIRECTORY
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cnn_jax.data import random_crop
from cnn_jax.tasks import Classification
from cnn_jax.training import (
    Experiment,
    Interrupted,
    OptimizerConfig,
    Parallel,
    TrainingConfig,
    initialize_processes,
    is_primary,
    make_parallel,
    placement,
    train,
)
from tests.training.small import ConvNet, dataset, wide


class Wide(Classification):
    """Classification whose parameters are all float64."""

    def init(self, key: Any, image_shape: tuple[int, int, int]) -> tuple[Any, Any]:
        return wide(super().init(key, image_shape))


def trained(
    directory: Path, parallel: Parallel, writer: Callable[[int, Any], None] | None = None
) -> dict[str, np.ndarray]:
    """Parameters and metrics, by name, after a run that goes on with what is there."""
    directory.mkdir(parents=True, exist_ok=True)
    experiment = Experiment(
        dataset=dataset(augment=(random_crop(2),)),
        task=Wide(ConvNet()),
        optimizer=OptimizerConfig(learning_rate=0.1, l2=5e-4),
        training=TrainingConfig(
            duration="10 steps",
            batch_size=16,
            log_every="2 steps",
            evaluate_every="5 steps",
            save_every="5 steps",
            eval_batch_size=8,
        ),
    )
    result = train(experiment, directory, parallel, seed=3, title="test", writer=writer)
    leaves = jax.tree_util.tree_leaves_with_path(result.variables["params"])
    found = {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
    metrics = [[row["loss"], row["accuracy"]] for row in result.rows]
    validation = result.summary["validation"]
    return found | {
        "rows": np.array(metrics),
        "validation": np.array([validation["loss"], validation["accuracy"]]),
        "outputs": result.outputs("validation"),
    }


def ask_one_process_to_stop(step: int, _: Any) -> None:
    if step == 4 and jax.process_index() == 1:
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    initialize_processes()
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    placement.SMALL = 0  # so that a small network is divided too
    for mode in ("jit", "fsdp", "pmap"):
        there = Path(sys.argv[1]) / mode
        parallel = make_parallel(mode)
        try:
            trained(there, parallel, ask_one_process_to_stop)
        except Interrupted as interrupted:
            # One write, or the lines of two processes would mix.
            os.write(1, f"{mode} {interrupted}\n".encode())
        arrays = trained(there, parallel)
        if is_primary():
            np.savez(there / "trained.npz", **arrays)
            counts = f"{jax.process_count()} processes {jax.device_count()} devices"
            print(mode, counts, flush=True)
