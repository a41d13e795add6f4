"""Benchmarks in pairs: two programs that do the same work run in turn, in one run.

    python -m experiments.bench train_step                  our step against plain Flax
    python -m experiments.bench sweep --steps 100           9 rates at once against in turn
    python -m experiments.bench max_pool                    our gradient against the derived one
    python -m experiments.bench startup --output out.json   cold against warm compilation cache

Each round runs both, one after the other, in alternating order; the ratio is taken pair by pair,
so that what else the machine does meets both alike. A suite is one function in SUITES.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax import linen as nn
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from cnn_jax import layers
from cnn_jax.data import ArraySplit, Dataset, epoch_order, random_crop, random_flip
from cnn_jax.models import cifar_resnet
from cnn_jax.tasks import Classification
from cnn_jax.training import (
    OptimizerConfig,
    TrainFeed,
    init_state,
    keep_freed_memory,
    l2_penalty,
    make_optimizer,
    make_parallel,
    make_prepare,
    make_train_step,
)
from experiments.learning_rates import RATES
from experiments.tools.plain_flax import PlainResNet, make_step
from experiments.tools.run_directory import environment, write_json
from experiments.tools.sweep_sides import sweep_sides

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 600.0


@dataclass(frozen=True)
class Options:
    """What to measure, and how often."""

    suite: Positional[Literal["train_step", "sweep", "max_pool", "startup"]]
    """train_step: ResNet/CIFAR training steps, ours against plain Flax. sweep: the learning rates
    of learning_rates at once against one after another. max_pool: the gradient of max pooling,
    ours against the one that JAX derives. startup: process start to the first
    finished step of resnet_cifar, cold against warm compilation cache."""
    rounds: int = 7
    """Pairs that are measured."""
    steps: int = 10
    """Training steps or gradients a measurement (train_step, sweep, max_pool)."""
    batch_size: int = 128
    """Examples a step (train_step, sweep, max_pool)."""
    depth: int = 20
    """Layers of the residual network (train_step, startup)."""
    output: str = ""
    """JSON file for all measurements, with hardware and versions."""


@dataclass(frozen=True)
class Pair:
    """Measurements of two programs in turn."""

    title: str
    unit: str
    """The measurements': "images/s" is better when higher, "s" when lower."""
    names: tuple[str, str]
    values: tuple[list[float], list[float]]
    notes: tuple[str, ...] = ()

    @property
    def ratios(self) -> list[float]:
        """The first over the second, round by round."""
        return [a / b for a, b in zip(*self.values, strict=True)]


def alternately(
    first: Callable[[], float], second: Callable[[], float], rounds: int
) -> tuple[list[float], list[float]]:
    """Measure two programs in turn; every other round begins with the second."""
    values: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        order = [(0, first), (1, second)]
        for index, measure in order if number % 2 == 0 else reversed(order):
            values[index].append(measure())
    return values


@dataclass(frozen=True)
class Sides:
    """Two ready training programs; each makes n steps and gives their losses."""

    ours: Callable[[int], list[float]]
    plain: Callable[[int], list[float]]


def train_step(options: Options) -> list[Pair]:
    """The step as the loop runs it against plain Flax in a Python loop: images a second."""
    sides = resnet_sides(options.depth, options.batch_size)
    first = [side(3) for side in (sides.ours, sides.plain)]
    if not np.allclose(first[0], first[1], rtol=1e-2):
        raise RuntimeError(f"the two do not do the same work: their losses are {first}")

    names = ("cnn_jax", "plain Flax")
    work = options.steps * options.batch_size
    values = alternately(
        _rate(sides.ours, options.steps, work),
        _rate(sides.plain, options.steps, work),
        options.rounds,
    )
    both = ", ".join(f"{ours:.5f} / {plain:.5f}" for ours, plain in zip(*first, strict=True))
    title = f"ResNet-{options.depth}, CIFAR-shaped, batch {options.batch_size}, crop and flip"
    return [Pair(title, "images/s", names, values, (f"losses of the first steps: {both}",))]


def _rate(side: Callable[[int], list[float]], steps: int, work: int) -> Callable[[], float]:
    """What measures the work a second of a program that does it in so many steps."""

    def measure() -> float:
        start = time.perf_counter()
        side(steps)
        return work / (time.perf_counter() - start)

    return measure


def sweep(options: Options) -> list[Pair]:
    """Training with all learning rates at once against one after another: images a second."""
    rates = RATES.learning_rate
    note = "an image counts once for each rate; compilation and start-up, which one after another "
    note += f"cost {len(rates)} times, are not in it"
    pairs = []
    for hidden, image_size in (((256, 128, 100), 28), ((32,), 8)):
        sides = sweep_sides(rates, hidden, image_size, options.batch_size)
        first = [side(2) for side in sides]
        if not np.allclose(first[0], first[1], rtol=1e-2):
            raise RuntimeError(f"the two do not do the same work: their losses are {first}")
        work = len(rates) * options.steps * options.batch_size
        at_once, in_turn = (_rate(side, options.steps, work) for side in sides)
        values = alternately(at_once, in_turn, options.rounds)
        widths = "-".join(map(str, hidden))
        title = f"MLP {widths}, images of {image_size} x {image_size}, batch {options.batch_size}"
        title += f", {len(rates)} rates"
        pairs.append(Pair(title, "images/s", ("at once", "in turn"), values, (note,)))
    return pairs


def max_pool(options: Options) -> list[Pair]:
    """Value and gradient of max pooling against plain Flax: images a second."""
    pairs = []
    for size, channels, window, stride, padding in ((28, 32, 2, 2, 0), (112, 64, 3, 2, 1)):
        x = jax.random.normal(jax.random.key(0), (options.batch_size, size, size, channels))
        sides = ((padding, padding),) * 2

        def ours(x: Any, window: int = window, stride: int = stride, padding: int = padding) -> Any:
            return layers.max_pool(x, window, stride, padding)

        def plain(x: Any, window: int = window, stride: int = stride, sides: Any = sides) -> Any:
            return nn.max_pool(x, (window, window), (stride, stride), sides)

        gradients = [
            jax.jit(jax.grad(lambda x, pool=pool: jnp.sum(jnp.square(pool(x)))))
            for pool in (ours, plain)
        ]
        if not np.array_equal(*(gradient(x) for gradient in gradients)):
            raise RuntimeError("the two do not do the same work: their gradients differ")

        def repeated(n: int, gradient: Any, x: Any = x) -> list[float]:
            return [float(gradient(x)[0, 0, 0, 0]) for _ in range(n)]

        work = options.steps * options.batch_size
        first, second = (
            _rate(partial(repeated, gradient=gradient), options.steps, work)
            for gradient in gradients
        )
        values = alternately(first, second, options.rounds)
        title = f"max pooling {window} x {window}, stride {stride}, value and gradient, batch "
        title += f"{options.batch_size} of {size} x {size} x {channels}"
        pairs.append(Pair(title, "images/s", ("cnn_jax", "plain Flax"), values))
    return pairs


def resnet_sides(depth: int, batch_size: int, *, image_size: int = 32) -> Sides:
    """The same network, parameters, batches, augmentation, loss and optimizer on both sides."""
    rng = np.random.default_rng(0)
    count = 4 * batch_size
    split = ArraySplit(
        rng.integers(0, 256, (count, image_size, image_size, 3), dtype=np.uint8),
        rng.integers(0, 10, count, dtype=np.int32),
    )
    dataset = Dataset(
        name="noise",
        title="noise",
        splits={"train": split},
        class_names=tuple("0123456789"),
        image_shape=(image_size, image_size, 3),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        augment=(random_crop(padding=4), random_flip()),
    )
    config = OptimizerConfig(learning_rate=0.01, l2=5e-4, decay_all=True)
    prepare = make_prepare(dataset)
    task = Classification(cifar_resnet(depth, num_classes=10, shortcut="B"))
    params, model_state = task.init(jax.random.key(0), dataset.image_shape)
    return Sides(
        ours=_ours(task, params, model_state, config, prepare, split, batch_size),
        plain=_plain(depth, params, model_state, config, prepare, split, batch_size),
    )


def _ours(
    task: Any,
    params: Any,
    model_state: Any,
    config: OptimizerConfig,
    prepare: Any,
    split: ArraySplit,
    batch_size: int,
) -> Callable[[int], list[float]]:
    parallel = make_parallel("jit")
    optimizer = make_optimizer(config, optax.constant_schedule(config.learning_rate))
    step = make_train_step(task.loss_fn, optimizer, prepare=prepare, penalty=l2_penalty(config))
    feed = TrainFeed(split, step, parallel, batch_size=batch_size, seed=0)
    state = parallel.replicate(init_state(params, model_state, optimizer, jax.random.key(1)))
    zeros = feed.zero_sums(state)

    def run(n: int) -> list[float]:
        nonlocal state
        losses = []
        # A single step a call shows the first losses; a measurement is one chunk.
        for size in [1] * n if n < 5 else [n]:
            state, sums = feed.advance(state, parallel.replicate(zeros), size)
            sums = jax.tree.map(np.asarray, sums)
            losses.append(float(sums["loss"] / sums["weight"]))
        return losses

    return run


def _plain(
    depth: int,
    params: Any,
    model_state: Any,
    config: OptimizerConfig,
    prepare: Any,
    split: ArraySplit,
    batch_size: int,
) -> Callable[[int], list[float]]:
    optimizer = optax.sgd(config.learning_rate, config.momentum, nesterov=config.nesterov)
    model = PlainResNet(depth, num_classes=10)
    step = make_step(model, optimizer, prepare=prepare, l2=config.l2)
    images, labels = jnp.asarray(split.images), jnp.asarray(split.labels)
    steps_per_epoch = len(split) // batch_size
    slots = jnp.arange(batch_size)

    def gathered(carry: Any, places: Any, number: Any) -> Any:
        batch = {"image": images[places], "label": labels[places], "index": slots}
        # The key that our step gives its augmentation.
        key = jax.random.split(jax.random.fold_in(jax.random.key(1), number))[0]
        return step(carry, batch, key)

    compiled = jax.jit(gathered, donate_argnums=0)
    params = jax.tree.map(jnp.copy, params)
    batch_stats = jax.tree.map(jnp.copy, model_state["batch_stats"])
    carry = (params, batch_stats, optimizer.init(params))
    done = 0

    def run(n: int) -> list[float]:
        nonlocal carry, done
        losses = []
        for _ in range(n):
            epoch, place = divmod(done, steps_per_epoch)
            order = epoch_order(0, epoch, len(split))
            places = order[place * batch_size : (place + 1) * batch_size]
            carry, loss = compiled(carry, places, np.int32(done))
            losses.append(loss)
            done += 1
        return [float(loss) for loss in losses]

    return run


def startup(options: Options) -> list[Pair]:
    """Process start to the first row of metrics.csv, of resnet_cifar on digits: seconds."""
    with tempfile.TemporaryDirectory(prefix="bench_startup_") as temporary:
        directory = Path(temporary)
        # What is not JAX's cache is warm for both: file pages, compiled Python, fonts.
        _first_step_seconds(directory, "before", options.depth)
        cold, warm = [], []
        for number in range(options.rounds):
            # The warm start follows a cold one: it finds that one's programs.
            cold.append(_first_step_seconds(directory, f"cache{number}", options.depth))
            warm.append(_first_step_seconds(directory, f"cache{number}", options.depth))
    title = f"resnet_cifar --depth {options.depth}, digits: process start to first finished step"
    return [Pair(title, "s", ("warm cache", "cold cache"), (warm, cold))]


def _first_step_seconds(directory: Path, cache: str, depth: int) -> float:
    """Start a training with this compilation cache, and end it after its first step."""
    workdir = Path(tempfile.mkdtemp(dir=directory))
    environ = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMP")}
    environ |= {
        "XDG_CACHE_HOME": str(directory / cache),
        "MPLCONFIGDIR": str(directory / "matplotlib"),
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
                    raise RuntimeError((workdir / "output.txt").read_text())
                time.sleep(0.005)
            return time.perf_counter() - start
        finally:
            process.kill()
            process.wait()


SUITES: dict[str, Callable[[Options], list[Pair]]] = {
    "train_step": train_step,
    "sweep": sweep,
    "max_pool": max_pool,
    "startup": startup,
}


def show(pairs: Sequence[Pair], console: Console) -> None:
    """A row a program: median, least and most, and the ratio of the pair."""
    for pair in pairs:
        table = Table(title=pair.title, title_justify="left")
        for heading in ("program", f"median {pair.unit}", "least to most", "ratio", "rounds"):
            table.add_column(heading, justify="left" if heading == "program" else "right")
        ratios = pair.ratios
        for index, (name, values) in enumerate(zip(pair.names, pair.values, strict=True)):
            ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            table.add_row(
                name,
                f"{statistics.median(values):,.1f}",
                f"{min(values):,.1f} to {max(values):,.1f}",
                ratio if index == 0 else "1",
                str(len(values)),
            )
        console.print(table)
        for note in pair.notes:
            console.print(note, highlight=False, soft_wrap=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure a suite, print its table, write its JSON."""
    options = tyro.cli(Options, description=__doc__, args=argv)
    if options.rounds < 1:
        raise SystemExit("error: --rounds must be 1 or more")
    keep_freed_memory()
    pairs = SUITES[options.suite](options)
    show(pairs, Console())
    if options.output:
        written = [asdict(pair) | {"ratios": pair.ratios} for pair in pairs]
        write_json(
            Path(options.output),
            {"options": asdict(options), "pairs": written, **environment()},
        )
