"""Convolution and its two gradients: by oneDNN, by XLA as we state them, as JAX derives them.

In images per second, for shapes from the networks of the other suites.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import jax
from jax import lax
from rich.console import Console

from cnn_jax import layers
from cnn_jax.layers.cpu.onednn import SWITCH
from cnn_jax.training import keep_freed_memory
from experiments.tools.bench.comparison import Comparison, check_same_work, rates, timings
from experiments.tools.bench.options import Steps
from experiments.tools.bench.processes import Side, started
from experiments.tools.bench.side import RunSteps, digest

# Batch, size, channels, features and window in ResNet-20, airbench's network and ResNet-50, and in
# the last maps of VGG and ResNet-18 on small images, where XLA exchanges image and kernel.
SHAPES = (
    (128, 32, 16, 16, 3),
    (128, 8, 64, 64, 3),
    (500, 15, 64, 256, 3),
    (500, 7, 256, 256, 3),
    (16, 56, 64, 256, 1),
    (16, 14, 256, 256, 3),
    (64, 2, 512, 512, 3),
)


@dataclass(frozen=True)
class Options(Steps):
    """Convolution and its gradients: ours by oneDNN and by XLA, and JAX's own."""


def measure(options: Options, console: Console) -> Iterable[Comparison]:
    """One comparison per shape."""
    for batch, size, channels, features, window in SHAPES:
        batch_size = options.batch_size or batch
        arguments = {
            "shape": (batch_size, size, size, channels),
            "features": features,
            "window": window,
        }
        sides = [
            Side(name, f"{__name__}:gradients", arguments | {"side": side}, environment)
            for name, side, environment in (
                ("cnn_jax", "ours", {}),
                ("cnn_jax by XLA", "ours", {SWITCH: "0"}),
                ("lax.conv", "derived", {}),
            )
        ]
        with started(sides, console) as processes:
            check_same_work(processes, steps=1, rtol=1e-4)
            answers = timings(processes, options.steps, options.rounds)
        title = f"{window} x {window} convolution, value and gradients, batch {batch_size} of "
        title += f"{size} x {size} x {channels} to {features}"
        values = rates(answers, options.steps * batch_size)
        yield Comparison(title, "images/s", values, details={"answers": answers})


def gradients(
    *,
    side: Literal["ours", "derived"],
    shape: tuple[int, int, int, int],
    features: int,
    window: int,
) -> RunSteps:
    """The output and both gradients of half the sum of its squares; their digests are compared."""
    keep_freed_memory()
    padding = window // 2
    x = jax.random.normal(jax.random.key(0), tuple(shape))
    kernel = jax.random.normal(jax.random.key(1), (window, window, shape[3], features))
    convolution: Callable[[Any, Any], Any]
    if side == "ours":
        convolution = lambda x, k: layers.conv2d(x, k, padding=padding)  # noqa: E731
    else:
        layout = ("NHWC", "HWIO", "NHWC")
        sides = [(padding, padding)] * 2
        convolution = lambda x, k: lax.conv_general_dilated(  # noqa: E731
            x, k, (1, 1), sides, dimension_numbers=layout
        )

    @jax.jit
    def all_three(x: Any, kernel: Any) -> Any:
        y, back = jax.vjp(convolution, x, kernel)
        return y, *back(y)

    digests = [digest(result) for result in all_three(x, kernel)]

    def run(n: int) -> list[float]:
        for _ in range(n):
            jax.block_until_ready(all_three(x, kernel))
        return digests

    return run
