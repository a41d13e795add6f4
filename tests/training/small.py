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
    OptimizerConfig,
    Parallel,
    TrainFeed,
    TrainState,
    init_state,
    l2_penalty,
    make_optimizer,
    make_parallel,
    make_prepare,
    make_train_step,
)

SGD = OptimizerConfig(learning_rate=0.1, l2=5e-4)


class ConvNet(nn.Module):
    """The smallest network with a convolution, BatchNorm and a classifier."""

    num_classes: int = 4
    norm: str = "batch"
    dtype: Any = None
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Any:
        x = Conv(4, 3, 2, padding=1, use_bias=False, dtype=self.dtype)(x)
        norm = BatchNorm(frozen=self.norm == "frozen", axis_name=self.axis_name, dtype=self.dtype)
        x = relu(norm(x, train=train))
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        return Linear(self.num_classes)(global_avg_pool(x))


def blobs(seed: int, n: int, classes: int = 4, size: int = 8, channels: int = 1) -> ArraySplit:
    """Noise whose brightness grows with the class: learnable in a few steps."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n).astype(np.int32)
    noise = rng.integers(0, 120, size=(n, size, size, channels))
    images = noise + labels[:, None, None, None] * (130 // classes)
    return ArraySplit(images.astype(np.uint8), labels)


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
        image_shape=(8, 8, channels),
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


def start(
    task: Any, data: Dataset, optimizer: OptimizerConfig = SGD, *, seed: int = 0, ema: bool = False
) -> TrainState:
    """A fresh state; in float64 where that is enabled."""
    params, model_state = task.init(jax.random.key(seed), data.image_shape)
    if jax.config.jax_enable_x64:
        params, model_state = wide(params), wide(model_state)
    rule = make_optimizer(optimizer, lambda step: optimizer.learning_rate)
    return init_state(params, model_state, rule, jax.random.key(seed + 1), ema=ema)


def make_feed(
    parallel: Parallel,
    task: Any,
    data: Dataset,
    optimizer: OptimizerConfig = SGD,
    *,
    batch_size: int = 32,
    accumulate: int = 1,
    ema_decay: float = 0.0,
) -> TrainFeed:
    train_step = make_train_step(
        task.with_axis(parallel.axis_name).loss_fn,
        make_optimizer(optimizer, lambda step: optimizer.learning_rate),
        prepare=make_prepare(data, parallel.axis_name),
        penalty=l2_penalty(optimizer),
        accumulate=accumulate,
        ema_decay=ema_decay,
        axis_name=parallel.axis_name,
    )
    return TrainFeed(data.splits["train"], train_step, parallel, batch_size=batch_size, seed=0)


def advance(
    parallel: Parallel, task: Any, data: Dataset, steps: int, **options: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and statistics after some steps, and the metrics' sums, on the host."""
    feed = make_feed(parallel, task, data, **options)
    state = start(task, data, options.get("optimizer", SGD), ema=bool(options.get("ema_decay")))
    state, sums = parallel.replicate((state, feed.zero_sums(state)))
    state, sums = feed.advance(state, sums, steps)
    host = jax.tree.map(np.asarray, {"params": state.params, "statistics": state.model_state})
    return host, jax.tree.map(np.asarray, sums)


def relative_error(actual: Any, expected: Any) -> float:
    """The largest max|a - b| / max|b| of the leaves of two trees."""
    errors = jax.tree.map(
        lambda a, b: np.max(np.abs(a - b)) / max(np.max(np.abs(b)), 1e-30), actual, expected
    )
    return float(max(jax.tree.leaves(errors)))
