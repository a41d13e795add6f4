"""Small data, models and runs that the tests of training share."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import AxisType, Mesh

from cnn_jax.data import ArraySplit, Augment, Dataset
from cnn_jax.layers import BatchNorm, Conv, Linear, global_avg_pool, relu
from cnn_jax.training import (
    Experiment,
    OptimizerConfig,
    Parallel,
    Runner,
    TrainingConfig,
    TrainState,
    make_parallel,
    prepare_run,
)

SGD = OptimizerConfig(learning_rate=0.1, l2=5e-4)


class ConvNet(nn.Module):
    """The smallest network with a convolution, BatchNorm and a classifier."""

    num_classes: int = 4
    norm: str = "batch"
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Any:
        x = Conv(4, 3, 2, padding=1, use_bias=False, dtype=self.dtype)(x)
        norm = BatchNorm(frozen=self.norm == "frozen", dtype=self.dtype)
        x = relu(norm(x, train=train))
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        return Linear(self.num_classes)(global_avg_pool(x))


def blobs(seed: int, n: int, classes: int = 4, size: int = 8, channels: int = 1) -> ArraySplit:
    """Noise whose brightness grows with the class: learnable in a few steps."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n).astype(np.int32)
    noise = rng.integers(0, 120, size=(n, size, size, channels))
    images = noise + labels[:, None, None, None] * (130 // classes)
    return ArraySplit({"image": images.astype(np.uint8), "label": labels})


def dataset(
    train: int = 64,
    validation: int = 20,
    *,
    augment: tuple[Augment, ...] = (),
    channels: int = 1,
) -> Dataset:
    return Dataset(
        name="blobs",
        title="blobs",
        splits={
            "train": blobs(0, train, channels=channels),
            "validation": blobs(1, validation, channels=channels),
        },
        class_names=("a", "b", "c", "d"),
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        augment=augment,
    )


def some_devices(count: int) -> Parallel:
    mesh = Mesh(np.array(jax.devices()[:count]), ("data",), axis_types=(AxisType.Auto,))
    return Parallel(mode="jit", mesh=mesh)


def one_device() -> Parallel:
    return some_devices(1)


def ways() -> dict[str, Parallel]:
    """One device, and all of them in both ways."""
    return {
        "one device": one_device(),
        "jit": make_parallel("jit"),
        "pmap": make_parallel("pmap"),
    }


def wide(tree: Any) -> Any:
    """Floating arrays as float64, the others as they are."""
    return jax.tree.map(
        lambda a: a.astype(jnp.float64) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree
    )


def make_experiment(
    task: Any,
    data: Dataset,
    optimizer: OptimizerConfig = SGD,
    *,
    batch_size: int = 32,
    accumulate: int = 1,
    ema_decay: float = 0.0,
) -> Experiment:
    training = TrainingConfig(batch_size=batch_size, accumulate=accumulate, ema_decay=ema_decay)
    return Experiment(dataset=data, task=task, optimizer=optimizer, training=training)


def make_runner(
    parallel: Parallel, task: Any, data: Dataset, *args: Any, seed: int = 0, **options: Any
) -> Runner:
    _, runner = prepare_run(make_experiment(task, data, *args, **options), parallel, seed=seed)
    return runner


def begin(runner: Runner) -> TrainState:
    """A fresh state on the devices; in float64 where that is enabled."""
    return runner.init(wide if jax.config.jax_enable_x64 else lambda variables: variables)


def start(task: Any, data: Dataset, *args: Any, **options: Any) -> TrainState:
    """A fresh state on one device; in float64 where that is enabled."""
    return begin(make_runner(one_device(), task, data, *args, **options))


def advance(
    parallel: Parallel, task: Any, data: Dataset, steps: int, *args: Any, **options: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and statistics after some steps, and the metrics' sums, on the host."""
    runner = make_runner(parallel, task, data, *args, **options)
    state = begin(runner)
    state, sums = runner.advance(state, runner.zero_sums(state), steps)
    host = jax.tree.map(np.asarray, {"params": state.params, "statistics": state.model_state})
    return host, jax.tree.map(np.asarray, sums)


def relative_error(actual: Any, expected: Any) -> float:
    """The largest max|a - b| / max|b| of the leaves of two trees."""
    errors = jax.tree.map(
        lambda a, b: np.max(np.abs(a - b)) / max(np.max(np.abs(b)), 1e-30), actual, expected
    )
    return float(max(jax.tree.leaves(errors)))
