"""Make the pictures of the site's gallery: one for each experiment, drawn by it.

    python -m experiments.tools.gallery                       which there are, and their commands
    python -m experiments.tools.gallery unet word2vec         run the commands, keep their figures
    python -m experiments.tools.gallery unet --run RUN        the figure of a run that is there

A picture is kept as docs/gallery/NAME.webp, which the site shows with its command. The figures show
only images that may be passed on: the embedded scenes, scikit-learn's photographs, Fashion-MNIST,
blood cells (BCCD) and nuclei (DSB 2018).
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from PIL import Image
from rich.table import Table
from tyro.conf import Positional

from cnn_jax.errors import ConfigError, UserError
from experiments.tools.console import standard_console
from experiments.tools.messages import user_errors
from experiments.tools.photographs import Photograph, load_photograph

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "gallery"
MOST_BYTES, MOST_WIDTH = 200_000, 1200
"""Of a picture in git: bytes, and pixels in a row."""
PHOTOGRAPHS: tuple[Photograph, ...] = ("temple", "flower")
"""Written to the commands' folder as PNG files."""

PICTURES: dict[str, tuple[str, str]] = {
    "activations": ("activations", "gradients"),
    "augmentations": ("augmentations", "photographs"),
    "autoencoder": ("autoencoder --no-convolutional", "reconstructions"),
    "char_rnn": (
        "char_rnn --cells lstm gru rnn --training.duration '2 epochs'",
        "gradients_through_time",
    ),
    "cifar_speedrun": ("cifar_speedrun --runs 25 --data.validation none", "accuracies"),
    "dcgan": ("dcgan --conditional", "samples"),
    "detection": (
        "detection --data.image-size 224 --training.duration '24 epochs'",
        "boxes",
    ),
    "fast_style_transfer": ("fast_style_transfer --style flower.png", "styled-*"),
    "fcn": ("fcn --data.name shapes --training.duration '5 epochs'", "boundaries"),
    "finetune": (
        "resnet_cifar --seed 2 --name source\n"
        "finetune --init compare --from-run runs/resnet_cifar/source --data.name fashion_mnist "
        "--data.image-size 32 --labels 100 1000 --head-duration '200 steps' "
        "--training.duration '400 steps' --training.evaluate-every '200 steps'",
        "accuracy",
    ),
    "googlenet_cifar": ("googlenet_cifar", "auxiliary"),
    "image_captioning": ("image_captioning --image both", "captions"),
    "learning_rates": ("learning_rates", "learning_rates"),
    "lenet_mnist": ("lenet_mnist --data.name fashion_mnist", "mistakes"),
    "linear_features": ("linear_features", "layers"),
    "localization": ("localization --data.name shapes --training.duration '10 epochs'", "boxes"),
    "mask_rcnn": ("mask_rcnn", "instances"),
    "mlp_fashion_mnist": ("mlp_fashion_mnist --loss all", "losses"),
    "mlp_regression": ("mlp_regression", "fits_wave"),
    "plain_vs_resnet": ("plain_vs_resnet", "error"),
    "plateau": ("plateau", "plateau"),
    "pooling_invariance": ("pooling_invariance", "changes"),
    "regularization": ("regularization", "regularization"),
    "resnet_cifar": ("resnet_cifar --seed 2", "curves"),
    "scaling": ("scaling", "efficiency"),
    "segnet": ("segnet --data.name shapes --training.duration '5 epochs'", "segmentations"),
    "style_transfer": ("style_transfer temple.png flower.png", "sheet"),
    "text_classifier": ("text_classifier --bodies cnn lstm gru", "compared"),
    "train": ("train --data.name fashion_mnist --training.duration '2 epochs'", "confusion"),
    "unet": ("unet --data.name shapes --training.duration '5 epochs'", "segmentations"),
    "vgg_cifar": ("vgg_cifar --depth 11 --training.duration '2 epochs'", "curves"),
    "word2vec": ("word2vec", "map"),
}
"""By experiment: what follows `python -m experiments.` (several commands by lines, which run in
turn), and the name of the figure that the last one draws, or a pattern. docs/pages.py reads the
table without importing it. resnet_imagenet has no picture, because its data may not be shown."""


@dataclass(frozen=True)
class Options:
    """Which pictures to make."""

    names: Positional[tuple[str, ...]] = ()
    """Experiments; without any, a table of all is printed."""
    run: str = ""
    """Directory of a run by the experiment's command, whose figure is kept; nothing is run."""

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in PICTURES:
                raise ConfigError(f"no picture of {name!r}; there are {', '.join(PICTURES)}")
        if self.run and len(self.names) != 1:
            raise ConfigError(f"--run {self.run} is for one name, got {len(self.names)}")


def make(name: str) -> Path:
    """Run an experiment's commands in a folder of their own, and keep the figure.

    Raises:
        UserError: a command fails or draws no such figure.
    """
    with tempfile.TemporaryDirectory(prefix="gallery_") as temporary:
        folder = Path(temporary)
        for photograph in PHOTOGRAPHS:
            pixels = (255 * load_photograph(photograph, 300)).round().astype("uint8")
            Image.fromarray(pixels).save(folder / f"{photograph}.png")
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        if "TFDS_DATA_DIR" in environment:
            environment["TFDS_DATA_DIR"] = str(Path(environment["TFDS_DATA_DIR"]).resolve())
        for line in PICTURES[name][0].splitlines():
            experiment = line.split()[0]
            command = f"{sys.executable} -m experiments.{line}"
            if subprocess.run(command, shell=True, cwd=folder, env=environment).returncode:
                raise UserError(f"python -m experiments.{line} has failed; see above")
        return keep(name, folder / "runs" / experiment)


def keep(name: str, directory: Path) -> Path:
    """Write the figure of a run as WebP.

    Args:
        name: of the experiment.
        directory: of its run, or above it. Of a study's figures the one that compares is taken, and
            of those over the training the last.

    Raises:
        UserError: the run has no such figure.
    """
    file_name = f"{PICTURES[name][1]}.png"
    found = list(directory.rglob(file_name))
    if not found:
        raise UserError(f"there is no {file_name} below {directory}: the run draws it at its end")
    chosen = min(found, key=lambda path: (len(path.parts), -path.stat().st_mtime_ns))
    FOLDER.mkdir(exist_ok=True)
    with Image.open(chosen) as image:
        return write_small(image.convert("RGB"), FOLDER / f"{name}.webp")


def write_small(image: Image.Image, path: Path) -> Path:
    """Write an image as WebP in the best quality that has few enough bytes."""
    if image.width > MOST_WIDTH:
        size = (MOST_WIDTH, round(image.height * MOST_WIDTH / image.width))
        image = image.resize(size, Image.Resampling.LANCZOS)
    for quality in range(90, 0, -10):
        image.save(path, quality=quality, method=6)
        if path.stat().st_size <= MOST_BYTES:
            break
    return path


def table() -> Table:
    """The pictures, and what makes them."""
    rows = Table(title="python -m experiments.tools.gallery NAME", title_justify="left")
    rows.add_column("name", no_wrap=True)
    rows.add_column("kB", justify="right")
    rows.add_column("python -m experiments. …")
    for name, (command, _) in PICTURES.items():
        path = FOLDER / f"{name}.webp"
        size = f"{path.stat().st_size / 1000:.0f}" if path.exists() else "none"
        rows.add_row(name, size, command)
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Make the pictures, or list them."""
    console = standard_console()
    with user_errors(console):
        options = tyro.cli(Options, description=__doc__, args=argv)
        if not options.names:
            console.print(table())
        for name in options.names:
            path = keep(name, Path(options.run)) if options.run else make(name)
            console.print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
