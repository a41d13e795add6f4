"""Style transfer: Adam's iterations on an image, and one pass of a trained network.

Both sides compute the losses of VGG-19 with average pooling, from the same random parameters and
pictures of noise, and the losses of the first iterations must agree. The other comparison is one
pass of the transformation network of PyTorch's example. L-BFGS is not compared, because the line
searches of the libraries differ.
"""

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from cnn_jax.errors import check_range
from cnn_jax.models import TransformationNetwork, create_model
from cnn_jax.pretrained import to_torch
from cnn_jax.style import (
    content_loss,
    gram_matrices,
    make_optimization,
    style_loss,
    total_variation,
)
from experiments.tools.bench.comparison import Comparison, check_same_work, rates, timings
from experiments.tools.bench.opponents import OURS, PACKAGE, platform
from experiments.tools.bench.options import Rounds
from experiments.tools.bench.processes import Side, started
from experiments.tools.bench.side import RunSteps, digest
from experiments.tools.bench.style_work import (
    CONTENT,
    CONTENT_WEIGHT,
    LEARNING_RATE,
    MEAN,
    STD,
    STYLE,
    STYLE_WEIGHT,
    pictures,
    weights_file,
)

Work = Literal["optimization", "one_pass"]
TITLES: dict[Work, str] = {
    "optimization": "style transfer by Adam, VGG-19",
    "one_pass": "one pass of the transformation network",
}
SHOWN_ITERATIONS = 300
TOLERANCE = 1e-2


@dataclass(frozen=True)
class Options(Rounds):
    """Style transfer: ours and PyTorch's."""

    work: tuple[Work, ...] = ("optimization", "one_pass")
    """What is compared."""
    size: int = 256
    """Height and width of the pictures in pixels."""
    iterations: int = 20
    """Iterations, and passes, per measurement."""
    rounds: int = 3
    """Measurements of each side, in turn."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, 32, 4096, size=self.size)
        check_range(self, 1, iterations=self.iterations)


def measure(options: Options, console: Console) -> Iterator[Comparison]:
    """One comparison for each kind of work."""
    for work in options.work:
        with (
            tempfile.TemporaryDirectory(prefix="bench_") as directory,
            started(sides(work, options.size, Path(directory)), console) as processes,
        ):
            losses = check_same_work(processes, steps=3, rtol=TOLERANCE)
            answers = timings(processes, options.iterations, options.rounds)
        values = rates(answers, options.iterations)
        notes = [losses]
        if work == "optimization":
            notes.append(_times(values))
        unit: Any = "iterations/s" if work == "optimization" else "images/s"
        title = f"{TITLES[work]}, {options.size} x {options.size}, float32"
        details = {"answers": answers}
        yield Comparison(title, unit, values, tuple(notes), details)


def _times(values: dict[str, list[float]]) -> str:
    times = (
        f"{name} {SHOWN_ITERATIONS / statistics.median(rates):.0f} s"
        for name, rates in values.items()
    )
    return f"{SHOWN_ITERATIONS} iterations take: {', '.join(times)}"


def sides(work: Work, size: int, directory: Path) -> Sequence[Side]:
    """Our side, which writes its parameters to a directory, and PyTorch's."""
    ours: dict[str, Any] = {"size": size, "directory": str(directory)}
    torch = ours | {"platform": platform()}
    return [
        Side(OURS, f"{PACKAGE}.style:{work}", ours),
        Side("PyTorch", f"{PACKAGE}.torch_style:{work}", torch, needed=False),
    ]


def _write(model: Any, variables: Any, directory: str) -> None:
    from safetensors.numpy import save_file

    save_file(to_torch(model, variables), weights_file(directory))


def optimization(*, size: int, directory: str) -> RunSteps:
    """Adam's iterations on the content picture."""
    from experiments.tools.bench.ours import set_up

    set_up()
    model = create_model("vgg19", pooling="average").until(STYLE[-1])
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    _write(model, variables, directory)
    mean, std = (jnp.asarray(one, jnp.float32)[None, None, None] for one in (MEAN, STD))
    shares = dict.fromkeys(STYLE, 1 / len(STYLE))

    @jax.jit
    def features(variables: Any, images: Any) -> Any:
        return model.apply(variables, (images - mean) / std, method="features")

    def objective(arguments: Any, images: Any) -> dict[str, jax.Array]:
        variables, content, grams = arguments
        maps = features(variables, images)
        of_content = content_loss(maps, content, {CONTENT: 1.0}, relative=True)
        of_style = style_loss(maps, grams, shares, relative=True)
        return {
            "content": CONTENT_WEIGHT * jnp.sum(of_content),
            "style": STYLE_WEIGHT * jnp.sum(of_style),
            "variation": jnp.sum(total_variation(images)),
        }

    images, style = (jnp.asarray(picture) for picture in pictures(size))
    content = {CONTENT: features(variables, images)[CONTENT]}
    arguments = variables, content, gram_matrices(features(variables, style), shares)
    init, advance = make_optimization(objective, optimizer="adam", learning_rate=LEARNING_RATE)
    state = init(images)

    def run(n: int) -> list[float]:
        nonlocal images, state
        images, state, terms = advance(images, state, arguments, n)
        return [float(terms["loss"])]

    return run


def one_pass(*, size: int, directory: str) -> RunSteps:
    """Passes of one picture, one after another."""
    from experiments.tools.bench.ours import set_up

    set_up()
    model = TransformationNetwork()
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    _write(model, variables, directory)
    images = jnp.asarray(255 * pictures(size)[0])
    styled = jax.jit(model.apply)
    numbers = [digest(styled(variables, images))]

    def run(n: int) -> list[float]:
        for _ in range(n):
            np.asarray(jax.block_until_ready(styled(variables, images)))
        return numbers

    return run
