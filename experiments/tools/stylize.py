"""Give images a style in one pass, with the network of a run or of a file.

    python -m experiments.stylize --run runs/fast_style_transfer/1234abcd photos/
    python -m experiments.stylize --run runs/fast_style_transfer/1234abcd frames/ --batch-size 8
    python -m experiments.stylize --run runs/fast_style_transfer/5678abcd --style art.jpg photos/
    python -m experiments.stylize --checkpoint candy.pth photos/

Images of one size, such as the frames of a film, go through the network in batches. Any size will
do. A checkpoint is one of PyTorch's example fast_neural_style. A run of `--model adain` takes any
style. Writes a PNG for each image, of its name, and sheet.png, a picture of the first ones. Files
that cannot be read are listed at the end.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from tyro.conf import OmitArgPrefixes, Positional

from cnn_jax import pretrained
from cnn_jax.errors import ConfigError, check_range
from cnn_jax.models import AdaIN, TransformationNetwork
from cnn_jax.pretrained import Network, Preprocessing
from cnn_jax.saved_run import load_run
from cnn_jax.visual import picture_rows, save_figure
from experiments.tools.command_line import run_tool
from experiments.tools.image_files import BadImage, check_any, find_images, read_images, show_bad
from experiments.tools.messages import printable, say
from experiments.tools.networks import checkpoint_of_run
from experiments.tools.output import OutputConfig, output_folder, writing
from experiments.tools.pictures import Pixels, as_pixels, read_picture, resized, write_picture
from experiments.tools.run import set_up_jax

SHOWN = 4
"""Images in the sheet, at most."""


@dataclass(frozen=True)
class Options:
    """Images, network and style."""

    images: Positional[tuple[str, ...]]
    """Image files, and folders of them."""
    run: str = ""
    """Directory of a run of fast_style_transfer."""
    checkpoint: str = ""
    """Without --run: a file of PyTorch's example fast_neural_style, such as candy.pth. With --run:
    best (on the validation split), last, or the number of a step."""
    style: str = ""
    """Picture of the style, for a run of --model adain."""
    alpha: float = 1.0
    """Share of the style with adain, between 0 and 1; 0 is the image as the decoder gives it."""
    style_size: int = 384
    """Longer side of the style picture in pixels: a smaller one gives finer strokes."""
    size: int = 0
    """Longer side of the images in pixels; 0 leaves them as they are."""
    batch_size: int = 4
    """Images of one size that go through the network at once."""
    output: OmitArgPrefixes[OutputConfig] = field(default_factory=OutputConfig)

    def __post_init__(self) -> None:
        check_range(self, 0, 1, alpha=self.alpha)
        check_range(self, 16, 8192, style_size=self.style_size)
        check_range(self, 0, 8192, size=self.size)
        check_range(self, 1, batch_size=self.batch_size)


def load_stylizer(options: Options) -> Network:
    """The network that the options name.

    Raises:
        ConfigError: no network, one for another task, or a style that is missing or not taken.
        UserError: files that are missing or cannot be read.
    """
    if options.run:
        network = load_run(options.run, checkpoint_of_run(options.checkpoint))
    elif options.checkpoint:
        model = TransformationNetwork()
        network = Network(
            model=model,
            variables=pretrained.from_torch(model, options.checkpoint),
            preprocessing=Preprocessing(0, 0, (0.0,) * 3, (1 / 255,) * 3),
            class_names=(),
            title=Path(options.checkpoint).name,
        )
    else:
        raise ConfigError("which network? Give --run DIRECTORY or --checkpoint FILE")
    if not isinstance(network.model, TransformationNetwork | AdaIN):
        raise ConfigError(
            f"{network.title}: expected a network that gives images a style, got the model "
            f"{type(network.model).__name__}; name a run of fast_style_transfer"
        )
    if isinstance(network.model, AdaIN) != bool(options.style):
        raise ConfigError(
            f"{network.title} "
            + ("has one style: leave out --style" if options.style else "needs a --style picture")
        )
    return network


class Stylizer:
    """A network as a function of batches of pictures."""

    def __init__(self, network: Network, options: Options) -> None:
        self.network, self.alpha = network, options.alpha
        names = ("params", "batch_stats")  # the constants of a run are for its training
        kept = {name: network.variables[name] for name in names if name in network.variables}
        # Transferred once, not with every batch.
        self.variables: Any = jax.device_put(kept)
        self.style: Any = None
        if options.style:
            style = resized(read_picture(options.style), options.style_size)
            self.style = jnp.asarray(style, jnp.float32)[None]
        self.styled = jax.jit(self._styled)

    def _styled(self, variables: Any, images: jax.Array, style: Any) -> jax.Array:
        images = images.astype(jnp.float32)
        if style is None:
            outputs = self.network.model.apply(variables, images)
        else:
            outputs = 255 * self.network.model.apply(variables, images / 255, style, self.alpha)
        return jnp.round(jnp.clip(outputs, 0, 255)).astype(jnp.uint8)

    def __call__(self, images: Sequence[Pixels], batch_size: int) -> np.ndarray:
        """The pictures of one size in the style; a short batch is filled up."""
        batch = np.zeros((batch_size, *images[0].shape), np.uint8)
        batch[: len(images)] = images
        return np.asarray(self.styled(self.variables, batch, self.style))[: len(images)]


def batches(
    paths: Sequence[Path], size: int, batch_size: int, bad: list[BadImage]
) -> Iterator[list[tuple[Path, Pixels]]]:
    """Pictures of one size that follow each other, read as they are needed."""
    batch: list[tuple[Path, Pixels]] = []
    for path in paths:
        good, unreadable = read_images([path])
        bad.extend(unreadable)
        for _, image in good:
            picture = as_pixels(resized(image, size)) if size else image
            if batch and (batch[0][1].shape != picture.shape or len(batch) == batch_size):
                yield batch
                batch = []
            batch.append((path, picture))
    if batch:
        yield batch


def _target(folder: Path, path: Path, taken: set[Path]) -> Path:
    """The file of a picture, numbered if one of the same name from another folder has it."""
    target, number = folder / f"{path.stem}.png", 1
    while target in taken:
        number += 1
        target = folder / f"{path.stem}-{number}.png"
    taken.add(target)
    return target


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    run_tool("stylize", Options, _run, description=__doc__, argv=argv)


def _run(options: Options, console: Console) -> None:
    set_up_jax()
    paths = find_images(options.images)
    network = load_stylizer(options)
    stylizer = Stylizer(network, options)
    folder = output_folder(options.output, "stylize", network.title)
    batch_size = min(options.batch_size, len(paths))
    bad: list[BadImage] = []
    taken = {folder / "sheet.png"}
    shown: list[tuple[str, Pixels, Pixels]] = []
    done, seconds = 0, 0.0
    with writing(folder):
        for batch in batches(paths, options.size, batch_size, bad):
            began = time.perf_counter()
            outputs = stylizer([picture for _, picture in batch], batch_size)
            seconds += time.perf_counter() - began
            for (path, picture), output in zip(batch, outputs, strict=True):
                write_picture(output, _target(folder, path, taken))
                if len(shown) < SHOWN:
                    shown.append((printable(path.name), picture, output))
            done += len(batch)
    check_any(done, bad)
    rows = [
        {name: picture for name, picture, _ in shown},
        {f"{name}, styled": output for name, _, output in shown},
    ]
    with writing(folder):
        save_figure(picture_rows(rows, title=printable(network.title)), folder / "sheet.png")
    say(console, f"{done} images, {seconds / done:.2f} s each with compilation; see {folder}")
    show_bad(console, bad)
