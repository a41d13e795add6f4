"""Evaluate classifiers on a data set, beside their published accuracies.

    python -m experiments.evaluate --models 'resnet*' vgg16 --data.name ./imagenet
    python -m experiments.evaluate --models resnet50        TFDS's imagenet2012
    python -m experiments.evaluate --run runs/finetune/1234abcd/all --data.name ./flowers

Images are resized, cropped and normalized as the weights of each network need them. The classes of
the data set must be those of the network. In a folder, ImageNet's classes are in the order of their
WordNet numbers, as in the public weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image as PillowImage
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from tyro.conf import OmitArgPrefixes

from cnn_jax.data import DataConfig, StreamSplit, load_dataset, stream_batches
from cnn_jax.data.examples import EncodedExamples
from cnn_jax.errors import ConfigError
from cnn_jax.models import list_models
from cnn_jax.pretrained import Network, Preprocessing, find_weights
from cnn_jax.tasks.losses import softmax_cross_entropy
from cnn_jax.tasks.metrics import accuracy, mean, top_k_accuracy, weighted_sums
from experiments.tools.command_line import run_tool
from experiments.tools.networks import NetworkConfig, load_network
from experiments.tools.run import set_up_jax

TOP = 5


@dataclass(frozen=True)
class Options:
    """Networks and images."""

    models: tuple[str, ...] = ()
    """Models with public weights, by name or pattern such as 'resnet*', in one table."""
    network: OmitArgPrefixes[NetworkConfig] = field(default_factory=NetworkConfig)
    data: DataConfig = field(default_factory=lambda: DataConfig(name="imagenet2012"))
    split: str = "validation"
    """Examples to evaluate: train, validation or test; see --data.validation."""
    batch_size: int = 64
    """Images per call of the network."""


@dataclass(frozen=True)
class Row:
    """Measurements of one network. Published figures are None if there are none."""

    title: str
    examples: int
    loss: float
    top1: float
    top5: float
    published1: float | None = None
    published5: float | None = None


def as_seen_by(split: StreamSplit, preprocessing: Preprocessing) -> StreamSplit:
    """The split with images resized and cropped for a network, not yet normalized."""
    examples: Any = split.examples
    crop, shape = partial(_crop, preprocessing), preprocessing.image_shape
    return replace(split, examples=replace(examples, crop=crop, image_shape=shape))


def _crop(preprocessing: Preprocessing, image: PillowImage.Image) -> PillowImage.Image:
    pixels = preprocessing.resize_and_crop(np.asarray(image.convert("RGB")))
    return PillowImage.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def evaluate(network: Network, split: StreamSplit, *, batch_size: int, progress: Progress) -> Row:
    """Loss and accuracies of a network on a split."""

    @jax.jit
    def sums(variables: Any, batch: dict[str, Any]) -> dict[str, Any]:
        pixels = batch["image"].astype(jnp.float32) / 255
        mean, std = (jnp.asarray(v, jnp.float32)[None, None, None, :] for v in normalization)
        logits: Any = network.model.apply(variables, (pixels - mean) / std)
        labels = batch["label"]
        return weighted_sums(
            batch["weight"],
            loss=softmax_cross_entropy(logits, labels),
            top1=accuracy(logits, labels),
            top5=top_k_accuracy(logits, labels, min(TOP, logits.shape[-1])),
        )

    normalization = network.preprocessing.mean, network.preprocessing.std
    variables: Any = jax.device_put(network.variables)
    seen = as_seen_by(split, network.preprocessing)
    total: dict[str, Any] = {}
    task = progress.add_task(network.title, total=len(split))
    for batch in stream_batches(seen, seed=None, batch_size=batch_size):
        found = sums(variables, batch)
        total = {name: total.get(name, 0.0) + float(value) for name, value in found.items()}
        progress.advance(task, int(np.sum(batch["weight"])))
    return Row(
        title=network.title,
        examples=len(split),
        loss=mean(total["loss"], total["weight"]),
        top1=100 * mean(total["top1"], total["weight"]),
        top5=100 * mean(total["top5"], total["weight"]),
    )


def networks(options: Options) -> list[NetworkConfig]:
    """The networks to evaluate.

    Raises:
        ConfigError: a pattern matches no model with public weights.
    """
    if not options.models:
        return [options.network]
    if options.network != replace(NetworkConfig(), weights=options.network.weights):
        raise ConfigError("give --models for public weights, or one network, not both")
    names: list[str] = []
    for pattern in options.models:
        found = [name for name in list_models(pattern) if _has_weights(name)]
        if not found:
            find_weights(pattern, options.network.weights)  # raises with the known names
        names += found
    return [replace(options.network, model=name) for name in dict.fromkeys(names)]


def _has_weights(name: str) -> bool:
    try:
        find_weights(name)
    except ConfigError:
        return False
    return True


def table(rows: Sequence[Row], data: str) -> Table:
    """A table with one row per network, published accuracies last."""
    shown = Table(title=data, title_justify="left")
    shown.add_column("network", overflow="fold")
    for heading in ("loss", "top-1", "top-5", "published top-1", "published top-5"):
        shown.add_column(heading, justify="right")
    for row in rows:
        published = (row.published1, row.published5)
        shown.add_row(
            row.title,
            f"{row.loss:.4f}",
            f"{row.top1:.3f}%",
            f"{row.top5:.3f}%",
            *("" if value is None else f"{value:.3f}%" for value in published),
        )
    return shown


def main(argv: Sequence[str] | None = None) -> list[Row]:
    """Run the tool."""
    return run_tool("evaluate", Options, _run, description=__doc__, argv=argv)


def _run(options: Options, console: Console) -> list[Row]:
    set_up_jax()
    configs = networks(options)
    # The data set needs a size, but each network resizes the original images.
    data = replace(options.data, storage="stream", image_size=options.data.image_size or 64)
    dataset = load_dataset(data, default="imagenet2012")
    if options.split not in dataset.splits:
        raise ConfigError(f"--split {options.split}: there are {', '.join(dataset.splits)}")
    split = dataset.splits[options.split]
    if not (isinstance(split, StreamSplit) and isinstance(split.examples, EncodedExamples)):
        raise ConfigError(f"{dataset.title} holds no image files; name a TFDS data set or a folder")
    rows = []
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,}/{task.total:,}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with progress:
        for config in configs:
            network = load_network(config)
            if len(network.class_names) != dataset.num_classes:
                raise ConfigError(
                    f"{network.title} tells {len(network.class_names)} classes apart, and "
                    f"{dataset.title} has {dataset.num_classes}"
                )
            row = evaluate(
                network,
                split,
                batch_size=min(options.batch_size, len(split)),
                progress=progress,
            )
            rows.append(_with_published(row, config))
    console.print(table(rows, f"{dataset.title}, {options.split}, {len(split):,} images"))
    return rows


def _with_published(row: Row, config: NetworkConfig) -> Row:
    """The row with torchvision's figures, which are for ImageNet's validation split."""
    if not config.model or config.checkpoint or "/" in config.weights:
        return row
    weights = find_weights(config.model, config.weights)
    return replace(row, published1=weights.top1, published5=weights.top5)
