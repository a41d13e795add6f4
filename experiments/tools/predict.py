"""Predict the most probable classes of images, as a table, files and a figure.

    python -m experiments.predict --model resnet50 images/*.jpg
    python -m experiments.predict --model resnet50 --weights IMAGENET1K_V1 folder/
    python -m experiments.predict --model resnet18 --checkpoint mine.pth --classes names.txt a.png
    python -m experiments.predict --run runs/resnet_cifar/1234abcd images/

Folders are searched recursively. Files that cannot be read are listed at the end. Writes
predictions.csv, predictions.json and predictions.png, a picture of the first images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tyro.conf import OmitArgPrefixes, Positional

from cnn_jax.errors import check_range
from cnn_jax.pretrained import Network
from cnn_jax.visual import Prediction, prediction_sheet, save_figure
from experiments.tools.command_line import run_tool
from experiments.tools.image_files import BadImage, find_images, read_images, show_bad
from experiments.tools.messages import printable, say
from experiments.tools.networks import NetworkConfig, load_network
from experiments.tools.on_files import outputs_of_files
from experiments.tools.output import OutputConfig, output_folder, write_csv, writing
from experiments.tools.run import set_up_jax
from experiments.tools.run_directory import write_json

SHOWN = 24
"""Largest number of images in the table and the figure. The files contain all images."""


@dataclass(frozen=True)
class Options:
    """Images, network and output."""

    images: Positional[tuple[str, ...]]
    """Image files, and folders of them."""
    network: OmitArgPrefixes[NetworkConfig] = field(default_factory=NetworkConfig)
    top: int = 5
    """Number of classes per image."""
    batch_size: int = 32
    """Images per call of the network."""
    output: OmitArgPrefixes[OutputConfig] = field(default_factory=OutputConfig)

    def __post_init__(self) -> None:
        check_range(self, 1, top=self.top, batch_size=self.batch_size)


@dataclass(frozen=True)
class Answer:
    """The most probable classes of one file, in descending order."""

    path: Path
    labels: tuple[int, ...]
    probabilities: tuple[float, ...]


def predict(
    network: Network, paths: Sequence[Path], *, top: int, batch_size: int
) -> tuple[list[Answer], list[BadImage]]:
    """The most probable classes of each file, and the files that could not be read.

    Args:
        network: the classifier.
        paths: files from `find_images`. One batch of images is in memory at a time.
        top: largest number of classes per image.
        batch_size: images per batch.

    Raises:
        UserError: no file can be read.
    """

    def softmax(variables: Any, inputs: Any) -> Any:
        logits: Any = network.model.apply(variables, inputs)
        return jax.nn.softmax(logits, axis=-1)

    read, rows, bad = outputs_of_files(softmax, network, paths, batch_size=batch_size)
    return [_answer(path, row, top) for path, row in zip(read, rows, strict=True)], bad


def _answer(path: Path, probabilities: Float[np.ndarray, " classes"], top: int) -> Answer:
    labels = np.argsort(-probabilities, kind="stable")[:top]
    return Answer(path, tuple(labels.tolist()), tuple(probabilities[labels].tolist()))


def table(network: Network, answers: Sequence[Answer]) -> Table:
    """A table with one row per image."""
    shown = Table(title=escape(printable(network.title)), title_justify="left", show_lines=True)
    shown.add_column("image", overflow="fold")
    shown.add_column("class", overflow="fold")
    shown.add_column("probability", justify="right")
    for answer in answers:
        shown.add_row(
            escape(printable(answer.path)),
            escape("\n".join(printable(network.class_names[label]) for label in answer.labels)),
            "\n".join(f"{probability:.1%}" for probability in answer.probabilities),
        )
    return shown


def write(
    folder: Path, network: Network, answers: Sequence[Answer], bad: Sequence[BadImage]
) -> None:
    """Write predictions.csv with a row per image and class, predictions.json, predictions.png."""
    rows = [
        {
            "path": str(answer.path),
            "rank": rank,
            "label": label,
            "class": network.class_names[label],
            "probability": probability,
        }
        for answer in answers
        for rank, (label, probability) in enumerate(
            zip(answer.labels, answer.probabilities, strict=True), start=1
        )
    ]
    write_csv(folder / "predictions.csv", rows)
    write_json(
        folder / "predictions.json",
        {
            "network": network.title,
            "predictions": rows,
            "unreadable": [{"path": str(path), "reason": reason} for path, reason in bad],
        },
    )
    save_figure(_sheet(network, answers), folder / "predictions.png")


def _sheet(network: Network, answers: Sequence[Answer]) -> Figure:
    """A picture of the first images. They are read again: not all of them fit into memory."""
    first = {answer.path: answer for answer in answers[:SHOWN]}
    images, _ = read_images(list(first))
    predictions = [
        Prediction(
            network.preprocessing.resize_and_crop(image),
            printable(path.name),
            [printable(network.class_names[label]) for label in first[path].labels],
            first[path].probabilities,
        )
        for path, image in images
    ]
    more = f"; the first {SHOWN} of {len(answers)} images" if len(answers) > SHOWN else ""
    columns = 2 if len(answers) <= 8 else 3
    return prediction_sheet(predictions, title=printable(network.title) + more, columns=columns)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    run_tool("predict", Options, _run, description=__doc__, argv=argv)


def _run(options: Options, console: Console) -> None:
    set_up_jax()
    paths = find_images(options.images)
    network = load_network(options.network)
    folder = output_folder(options.output, "predict", network.title)
    answers, bad = predict(network, paths, top=options.top, batch_size=options.batch_size)
    console.print(table(network, answers[:SHOWN]))
    with writing(folder):
        write(folder, network, answers, bad)
    images = f"{len(answers)} image{'s' if len(answers) > 1 else ''}"
    say(console, f"{images}; see {folder}: predictions.csv, predictions.json, predictions.png")
    show_bad(console, bad)
