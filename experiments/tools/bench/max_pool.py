"""Value and gradient of max pooling, ours and the one that JAX derives: images per second."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from rich.console import Console

from cnn_jax import layers
from cnn_jax.training import keep_freed_memory
from experiments.tools.bench.comparison import Comparison, check_same_work, rates, timings
from experiments.tools.bench.options import Steps
from experiments.tools.bench.processes import Side, started
from experiments.tools.bench.side import RunSteps, digest

# Size, channels, window, stride and padding in LeNet and in the ImageNet ResNets.
SHAPES = ((28, 32, 2, 2, 0), (112, 64, 3, 2, 1))


@dataclass(frozen=True)
class Options(Steps):
    """Max pooling and its gradient: ours and Flax's."""


def measure(options: Options, console: Console) -> Iterable[Comparison]:
    """One comparison per shape."""
    batch_size = options.batch_size or 128
    for size, channels, window, stride, padding in SHAPES:
        arguments = {
            "shape": (batch_size, size, size, channels),
            "window": window,
            "stride": stride,
            "padding": padding,
        }
        sides = [
            Side(name, f"{__name__}:gradients", arguments | {"side": side})
            for name, side in (("cnn_jax", "ours"), ("plain Flax", "flax"))
        ]
        with started(sides, console) as processes:
            check_same_work(processes, steps=1, rtol=0.0)
            answers = timings(processes, options.steps, options.rounds)
        title = f"max pooling {window} x {window}, stride {stride}, value and gradient, batch "
        title += f"{batch_size} of {size} x {size} x {channels}"
        values = rates(answers, options.steps * batch_size)
        yield Comparison(title, "images/s", values, details={"answers": answers})


def gradients(
    *,
    side: Literal["ours", "flax"],
    shape: tuple[int, int, int, int],
    window: int,
    stride: int,
    padding: int,
) -> RunSteps:
    """Gradients of the sum of squares of a pooled map; their digest is compared."""
    keep_freed_memory()
    x = jax.random.normal(jax.random.key(0), tuple(shape))
    sides = ((padding, padding),) * 2
    pool: Callable[[Any], Any]
    if side == "ours":
        pool = lambda x: layers.max_pool(x, window, stride, padding)  # noqa: E731
    else:
        pool = lambda x: nn.max_pool(x, (window, window), (stride, stride), sides)  # noqa: E731
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(jnp.square(pool(x)))))

    digests = [digest(gradient(x))]

    def run(n: int) -> list[float]:
        for _ in range(n):
            jax.block_until_ready(gradient(x))
        return digests

    return run
