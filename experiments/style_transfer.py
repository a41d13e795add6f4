"""Style transfer: an image with the content of one picture and the style of others.

Lecture: "Style transfer". Source: Gatys, Ecker and Bethge 2016. The pixels of an image are
optimized until the maps of a network are those of the content picture, and their correlations, the
Gram matrices, those of the style pictures.

    python -m experiments.style_transfer photo.jpg painting.jpg
    python -m experiments.style_transfer photo.jpg painting.jpg --colour luminance --size 512
    python -m experiments.style_transfer photo.jpg one.jpg two.jpg --shares 0.7 0.3

Writes result.png, progress/ (the image on its way), losses.csv, and sheet.png with all of it. The
network is VGG-19 with public weights; where they cannot be had, a small one of our own.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from tyro.conf import OmitArgPrefixes, Positional

from cnn_jax.errors import LARGEST, ConfigError, check_range
from cnn_jax.style import (
    content_loss,
    gram_matrices,
    optimize_image,
    style_loss,
    total_variation,
)
from cnn_jax.style.optimization import Optimizer
from cnn_jax.visual import save_figure, transfer_sheet
from experiments.tools.command_line import run_tool
from experiments.tools.messages import printable, say
from experiments.tools.output import OutputConfig, output_folder, write_csv, writing
from experiments.tools.pictures import Picture, Pixels, read_picture, write_picture
from experiments.tools.report import note
from experiments.tools.run import set_up_jax
from experiments.tools.style_network import StyleNetwork, StyleNetworkConfig, load_style_network
from experiments.tools.style_scales import Colour, check_sizes, finished, prepared, sizes

SHOWN = 6
"""Pictures of the result on its way in the sheet, at most."""
NOISE = 0.1
"""Standard deviation of the noise of a start, around gray."""


@dataclass(frozen=True)
class Config:
    """Pictures, network and losses."""

    content: Positional[str]
    """Picture of the content."""
    styles: Positional[tuple[str, ...]]
    """Pictures of the style, one or several."""
    network: OmitArgPrefixes[StyleNetworkConfig] = field(default_factory=StyleNetworkConfig)
    size: int = 256
    """Pixels of the longer side of the result."""
    scales: int = 2
    """Sizes at which the image is optimized, each twice as large as the one before: what is learned
    at a small one is enlarged to begin the next."""
    iterations: int = 300
    """Iterations at each size."""
    optimizer: Optimizer = "lbfgs"
    """L-BFGS with a line search, or Adam, which takes less time and memory an iteration."""
    learning_rate: float = 0.02
    """Adam's, of pixels in [0, 1]."""
    start: Literal["content", "noise"] = "content"
    """What the first image is."""
    content_weight: float = 1.0
    """Weight of the content loss, which is relative to the content's own maps."""
    style_weight: float = 30.0
    """Weight of the style loss, which is relative to the style's own Gram matrices."""
    variation_weight: float = 1.0
    """Weight of the total variation; more makes the result smoother."""
    style_layer_weights: tuple[float, ...] = ()
    """Weight of each style layer; by default equal ones. Their sum does not matter."""
    shares: tuple[float, ...] = ()
    """Share of each style picture; by default equal ones. Their sum does not matter."""
    style_size: float = 1.0
    """Longer side of the style pictures, relative to that of the result: a smaller one gives finer
    strokes."""
    colour: Colour = "style"
    """style: the colours are the style's; luminance: only the luminance is optimized, and the
    colours stay the content's; match: the styles' colours are first made like the content's, in
    mean and covariance; histogram: in the histogram of each channel, which may give stronger
    colours than either has."""
    every: int = 0
    """Iterations between two pictures of the progress; 0: a tenth of them."""
    seed: int = 0
    """Decides the noise of a start."""
    output: OmitArgPrefixes[OutputConfig] = field(default_factory=OutputConfig)

    def __post_init__(self) -> None:
        check_range(self, 1, 8192, size=self.size)
        check_range(self, 1, 6, scales=self.scales)
        check_range(self, 0, iterations=self.iterations, every=self.every, seed=self.seed)
        check_range(self, 0, above=True, learning_rate=self.learning_rate)
        check_range(self, 0, LARGEST, content_weight=self.content_weight)
        check_range(self, 0, LARGEST, style_weight=self.style_weight)
        check_range(self, 0, LARGEST, variation_weight=self.variation_weight)
        check_range(self, 0, LARGEST, style_layer_weights=self.style_layer_weights)
        check_range(self, 0, LARGEST, shares=self.shares)
        check_range(self, 0.05, 20, style_size=self.style_size)


@dataclass(frozen=True)
class Transfer:
    """The style transfer of a network: compiled functions, and the weights of its layers."""

    network: StyleNetwork
    config: Config

    def objective(self, arguments: Any, images: jax.Array) -> dict[str, jax.Array]:
        """The weighted losses of an image."""
        variables, content, grams = arguments
        config, features = self.config, self.network.features(variables, images)
        of_content = content_loss(features, content, self.content_weights, relative=True)
        of_style = style_loss(features, grams, self.style_weights, relative=True)
        return {
            "content": config.content_weight * jnp.sum(of_content),
            "style": config.style_weight * jnp.sum(of_style),
            "variation": config.variation_weight * jnp.sum(total_variation(images)),
        }

    @property
    def content_weights(self) -> dict[str, float]:
        layers = self.network.content_layers
        return {layer: 1 / len(layers) for layer in layers}

    @property
    def style_weights(self) -> dict[str, float]:
        layers, given = self.network.style_layers, self.config.style_layer_weights
        shares = as_shares(given, len(layers), f"--style-layer-weights of {', '.join(layers)}")
        return dict(zip(layers, shares, strict=True))

    def targets(self, variables: Any, content: Picture, styles: Sequence[Picture]) -> Any:
        """The content's maps, and the average of the styles' Gram matrices."""
        features = jax.jit(self.network.features)
        shares = as_shares(self.config.shares, len(styles), "--shares of the styles")
        maps = features(variables, _batch(content))
        grams = [
            gram_matrices(features(variables, _batch(style)), self.style_weights)
            for style in styles
        ]
        average = {
            layer: sum(share * gram[layer] for share, gram in zip(shares, grams, strict=True))
            for layer in self.style_weights
        }
        return {layer: maps[layer] for layer in self.content_weights}, average


def as_shares(given: Sequence[float], count: int, what: str) -> tuple[float, ...]:
    """Numbers with a sum of 1; without any, equal ones.

    Raises:
        ConfigError: another number of them, or no positive one.
    """
    numbers = tuple(given) or (1.0,) * count
    if len(numbers) != count or not sum(numbers) > 0:
        raise ConfigError(
            f"{what}: expected {count} numbers that are not all 0, got {', '.join(map(str, given))}"
        )
    return tuple(number / sum(numbers) for number in numbers)


def transfer(
    config: Config,
    network: StyleNetwork,
    content: Pixels,
    styles: Sequence[Pixels],
    console: Console,
    folder: Path,
) -> tuple[Pixels, list[dict[str, float]], dict[str, Pixels]]:
    """Optimize the image at all sizes, and write it on its way.

    Returns:
        The picture, the losses over the iterations, and pictures by their iteration.
    """
    work = Transfer(network, config)
    variables: Any = jax.device_put(network.variables)
    every = config.every or max(1, config.iterations // 10)
    rows: list[dict[str, float]] = []
    pictures: dict[str, Pixels] = {}
    image: Any = None
    for number, size in enumerate(sizes(config.size, config.scales)):
        original, seen, seen_styles = prepared(
            content, styles, size=size, style_size=config.style_size, colour=config.colour
        )
        if image is not None:
            image = _enlarged(image, seen)
        elif config.start == "content":
            image = _batch(seen)
        else:
            shape = (1, *seen.shape)
            image = 0.5 + NOISE * jax.random.normal(jax.random.key(config.seed), shape)
        began = time.perf_counter()
        for progress in optimize_image(
            work.objective,
            (variables, *work.targets(variables, seen, seen_styles)),
            image,
            iterations=config.iterations,
            every=every,
            optimizer=config.optimizer,
            learning_rate=config.learning_rate,
        ):
            image, iteration = progress.image, number * config.iterations + progress.iteration
            picture = pictures[f"{size} pixels, iteration {iteration}"] = finished(
                image, original, config.colour
            )
            rows.append({"iteration": iteration, "size": size} | progress.terms)
            write_picture(picture, folder / "progress" / f"{iteration:05}-{size}.png")
        seconds = time.perf_counter() - began
        losses = ", ".join(f"{name} {value:.4g}" for name, value in progress.terms.items())
        height, width = picture.shape[:2]
        say(console, f"{width}x{height}: {config.iterations} iterations, {seconds:.0f} s; {losses}")
    return picture, rows, pictures


def _batch(picture: Picture) -> jax.Array:
    return jnp.asarray(picture, jnp.float32)[None]


def _enlarged(image: jax.Array, to: Picture) -> jax.Array:
    size = (1, *to.shape)
    return jax.image.resize(jnp.clip(image, 0, 1), size, "cubic")


def sheet_rows(
    config: Config, content: Pixels, styles: Sequence[Pixels], pictures: dict[str, Pixels]
) -> list[dict[str, Pixels]]:
    """The rows of pictures in the sheet."""
    given = {f"content: {printable(Path(config.content).name)}": content}
    for path, style in zip(config.styles, styles, strict=True):
        given[f"style: {printable(Path(path).name)}"] = style
    names = list(pictures)
    places = np.linspace(0, len(names) - 1, min(SHOWN, len(names))).round().astype(int)
    shown = {names[place]: pictures[names[place]] for place in places}
    half = (len(shown) + 1) // 2
    items = list(shown.items())
    return [given, dict(items[:half]), *([dict(items[half:])] if items[half:] else [])]


def main(argv: Sequence[str] | None = None) -> None:
    """Transfer a style."""
    run_tool("style_transfer", Config, _run, description=__doc__, argv=argv)


def _run(config: Config, console: Console) -> None:
    set_up_jax()
    if not config.styles:
        raise ConfigError("no style: name the content picture, then one or several of style")
    as_shares(config.shares, len(config.styles), "--shares of the styles")
    content = read_picture(config.content)
    styles = [read_picture(path) for path in config.styles]
    network = load_style_network(config.network)
    for text in network.notes:
        note(console, text)
    check_sizes(content, network, config.size, config.scales)
    folder = output_folder(config.output, "style_transfer", Path(config.content).stem)
    say(console, f"features of {network.title}")
    with writing(folder):
        picture, rows, pictures = transfer(config, network, content, styles, console, folder)
        write_picture(picture, folder / "result.png")
        write_csv(folder / "losses.csv", rows)
        history = [{name: value for name, value in row.items() if name != "size"} for row in rows]
        save_figure(
            transfer_sheet(
                sheet_rows(config, content, styles, pictures),
                history,
                title=f"style transfer by the features of {network.title}",
            ),
            folder / "sheet.png",
        )
    say(console, f"{folder / 'result.png'}\n{folder / 'sheet.png'}")


if __name__ == "__main__":
    main()
