"""Predict the most probable classes of images, as a table, files and a figure.

    python -m experiments.predict --model resnet50 images/*.jpg
    python -m experiments.predict --model resnet50 --weights IMAGENET1K_V1 folder/
    python -m experiments.predict --model resnet18 --checkpoint mine.pth --classes names.txt a.png
    python -m experiments.predict --run runs/resnet_cifar/1234abcd images/

Folders are searched recursively. Files that cannot be read are listed at the end.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tyro.conf import OmitArgPrefixes, Positional

from cnn_jax.errors import ConfigError
from cnn_jax.pretrained import Network
from cnn_jax.visual import Prediction, prediction_sheet, save_figure
from experiments.tools.command_line import run_tool, writing
from experiments.tools.image_files import BadImage, check_any, find_images, read_images, show_bad
from experiments.tools.networks import NetworkConfig, load_network
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
    output: str = "predictions"
    """Folder for predictions.csv, predictions.json and predictions.png."""


@dataclass(frozen=True)
class Answer:
    """The most probable classes of one file, in descending order."""

    path: Path
    seen: UInt8[np.ndarray, "height width channels"]
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
        batch_size: images per batch. The last batch is padded to avoid a second compilation.
    """

    @jax.jit
    def softmax(variables: Any, inputs: Any) -> Any:
        logits: Any = network.model.apply(variables, inputs)
        return jax.nn.softmax(logits, axis=-1)

    # Transferred once, not with every batch.
    variables: Any = jax.device_put(network.variables)
    answers: list[Answer] = []
    bad: list[BadImage] = []
    for start in range(0, len(paths), batch_size):
        good, unreadable = read_images(paths[start : start + batch_size])
        bad.extend(unreadable)
        if not good:
            continue
        seen = [network.preprocessing.resize_and_crop(image) for _, image in good]
        inputs = np.stack([network.preprocessing(image) for _, image in good])
        missing = batch_size - len(inputs)
        inputs = np.pad(inputs, ((0, missing), (0, 0), (0, 0), (0, 0)))
        for (path, _), pixels, row in zip(
            good, seen, np.asarray(softmax(variables, inputs)), strict=False
        ):
            answers.append(_answer(path, pixels, row, top))
    return answers, bad


def _answer(
    path: Path,
    seen: UInt8[np.ndarray, "height width channels"],
    probabilities: Float[np.ndarray, " classes"],
    top: int,
) -> Answer:
    labels = np.argsort(-probabilities, kind="stable")[:top]
    return Answer(path, seen, tuple(labels.tolist()), tuple(probabilities[labels].tolist()))


def table(network: Network, answers: Sequence[Answer]) -> Table:
    """A table with one row per image."""
    shown = Table(title=network.title, title_justify="left", show_lines=True)
    shown.add_column("image", overflow="fold")
    shown.add_column("class", overflow="fold")
    shown.add_column("probability", justify="right")
    for answer in answers:
        shown.add_row(
            escape(str(answer.path)),
            escape("\n".join(network.class_names[label] for label in answer.labels)),
            "\n".join(f"{probability:.1%}" for probability in answer.probabilities),
        )
    return shown


def write(
    folder: Path, network: Network, answers: Sequence[Answer], bad: Sequence[BadImage]
) -> None:
    """Write predictions.csv with a row per image and class, predictions.json, predictions.png."""
    folder.mkdir(parents=True, exist_ok=True)
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
    with (folder / "predictions.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    write_json(
        folder / "predictions.json",
        {
            "network": network.title,
            "predictions": rows,
            "unreadable": [{"path": str(path), "reason": reason} for path, reason in bad],
        },
    )
    more = f"; the first {SHOWN} of {len(answers)} images" if len(answers) > SHOWN else ""
    sheet = prediction_sheet(
        [
            Prediction(
                answer.seen,
                answer.path.name,
                [network.class_names[label] for label in answer.labels],
                answer.probabilities,
            )
            for answer in answers[:SHOWN]
        ],
        title=network.title + more,
        columns=2 if len(answers) <= 8 else 3,
    )
    save_figure(sheet, folder / "predictions.png")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    run_tool("predict", Options, _run, description=__doc__, argv=argv)


def _run(options: Options, console: Console) -> None:
    if options.top < 1 or options.batch_size < 1:
        raise ConfigError(
            f"--top and --batch-size must be at least 1, got {options.top} and {options.batch_size}"
        )
    set_up_jax()
    paths = find_images(options.images)
    network = load_network(options.network)
    answers, bad = predict(
        network, paths, top=options.top, batch_size=min(options.batch_size, len(paths))
    )
    check_any(len(answers), bad)
    console.print(table(network, answers[:SHOWN]))
    folder = Path(options.output)
    with writing(folder):
        write(folder, network, answers, bad)
    console.print(
        f"[dim]{len(answers)} image{'s' if len(answers) > 1 else ''}; see {escape(str(folder))}: "
        "predictions.csv, predictions.json, predictions.png[/]",
        highlight=False,
        soft_wrap=True,
    )
    show_bad(console, bad)
