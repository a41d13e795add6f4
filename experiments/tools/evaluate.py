"""Evaluate classifiers on a data set, beside their published accuracies; or masks, or boxes.

    python -m experiments.evaluate --run runs/resnet_cifar/1234abcd      on its own held-out images
    python -m experiments.evaluate --run runs/finetune/1234abcd/all --data.name ./flowers
    python -m experiments.evaluate --models 'resnet*' vgg16 --data.name ./imagenet
    python -m experiments.evaluate --models resnet50                     on TFDS's imagenet2012
    python -m experiments.evaluate --run runs/unet/1234abcd              mean IoU by conventions
    python -m experiments.evaluate --run runs/detection/1234abcd         COCO's and VOC's precision

Images are resized, cropped and normalized as each network needs them. Classes are matched by name;
a data set may have a part of the network's classes, and is then evaluated over these. Classes
without names are matched by their order.

Writes networks.csv, classes.csv (precision, recall, F1 and support), evaluation.json, and the
confusion matrix of each network. Of a network for segmentation or of a detector, which sees the
images as the data set gives them (--data.image-size), it writes scores.csv with the scores as each
public convention counts them in place of networks.csv, and of a detector no confusion matrix.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.progress import Progress
from tyro.conf import OmitArgPrefixes

from cnn_jax.data import DataConfig, stream_batches
from cnn_jax.data.splits import Split
from cnn_jax.errors import ConfigError, check_range
from cnn_jax.models import list_models
from cnn_jax.pretrained import Network, find_weights
from cnn_jax.tasks import confusion_counts, softmax_cross_entropy, top_k_accuracy
from cnn_jax.tasks.metrics import mean, weighted_sums
from experiments.tools.class_matching import Matching, match_classes
from experiments.tools.command_line import run_tool
from experiments.tools.console import progress_bar
from experiments.tools.evaluate_boxes import evaluate_boxes
from experiments.tools.evaluate_masks import evaluate_masks
from experiments.tools.evaluation_data import Role, as_seen_by, load_data
from experiments.tools.evaluation_report import Row, class_table, network_table, write
from experiments.tools.messages import say
from experiments.tools.networks import (
    NetworkConfig,
    as_classifier,
    as_detector,
    as_segmenter,
    detects,
    load_any_network,
    load_network,
    segments,
)
from experiments.tools.output import OutputConfig, output_folder, writing
from experiments.tools.run import set_up_jax

TOP = 5


@dataclass(frozen=True)
class Options:
    """Networks and images."""

    models: tuple[str, ...] = ()
    """Models with public weights, by name or pattern such as 'resnet*', in one table."""
    network: OmitArgPrefixes[NetworkConfig] = field(default_factory=NetworkConfig)
    data: DataConfig = field(default_factory=DataConfig)
    """The name auto is the run's own data with --run, else imagenet2012."""
    split: Role = "auto"
    """Examples to evaluate, see --data.validation. auto: those that a run's final table ends with
    (test, else validation), and validation, else test, of data that is named."""
    batch_size: int = 64
    """Images per call of the network."""
    output: OmitArgPrefixes[OutputConfig] = field(default_factory=OutputConfig)

    def __post_init__(self) -> None:
        check_range(self, 1, batch_size=self.batch_size)


def evaluate(
    network: Network, split: Split, matching: Matching, *, batch_size: int, progress: Progress
) -> Row:
    """Loss, accuracies and confusions of a network on a split.

    Args:
        network: the classifier.
        split: examples with `image` and `label`.
        matching: the network's outputs for the labels.
        batch_size: images per batch.
        progress: gets a bar.

    Raises:
        ConfigError: an example has no label.
    """
    outputs = np.array(matching.outputs)

    @jax.jit
    def sums(variables: Any, batch: dict[str, Any]) -> dict[str, Any]:
        pixels = batch["image"].astype(jnp.float32) / 255
        mean, std = (jnp.asarray(v, jnp.float32)[None, None, None, :] for v in normalization)
        logits: Any = network.model.apply(variables, (pixels - mean) / std)
        logits, labels, weight = logits[:, outputs], batch["label"], batch["weight"]
        counts = confusion_counts(logits, labels, weight)
        return {"counts": counts} | weighted_sums(
            weight,
            loss=softmax_cross_entropy(logits, labels),
            top5=top_k_accuracy(logits, labels, min(TOP, len(outputs))),
        )

    normalization = network.preprocessing.mean, network.preprocessing.std
    variables: Any = jax.device_put(network.variables)
    seen = as_seen_by(split, network.preprocessing)
    total: dict[str, Any] = {}
    task = progress.add_task(network.title, total=len(split))
    for batch in stream_batches(seen, seed=None, batch_size=batch_size):
        if np.any(batch["label"] < 0):
            raise ConfigError("there are examples without a label (-1); give another --split")
        found = sums(variables, batch)
        total = {name: total.get(name, 0.0) + np.float64(value) for name, value in found.items()}
        progress.advance(task, int(np.sum(batch["weight"])))
    return Row(
        title=network.title,
        class_names=matching.class_names,
        counts=total["counts"],
        loss=mean(total["loss"], total["weight"]),
        top1=100 * mean(np.trace(total["counts"]), total["weight"]),
        top5=100 * mean(total["top5"], total["weight"]),
        note=matching.note,
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
        return find_weights(name).top5 is not None  # a classifier
    except ConfigError:
        return False


def main(argv: Sequence[str] | None = None) -> list[Any]:
    """Run the tool; returns the rows of its table."""
    return run_tool("evaluate", Options, _run, description=__doc__, argv=argv)


def _run(options: Options, console: Console) -> list[Any]:
    set_up_jax()
    configs = networks(options)
    first = load_any_network(configs[0])  # before the data, which take longer
    if not options.models and (segments(first) or detects(first)):
        chosen = options.data, options.network.run, options.split, options.output, console
        if segments(first):
            return evaluate_masks(as_segmenter(first), *chosen)
        return evaluate_boxes(as_detector(first), *chosen)
    loaded = [as_classifier(first)]
    folder = output_folder(options.output, "evaluate", loaded[0].title)
    dataset, split, changed = load_data(options.data, options.network.run, options.split)
    examples = dataset.splits[split]
    for note in (*dataset.notes, *filter(None, [changed])):
        say(console, f"note: {note}")
    rows = []
    with progress_bar(console) as progress:
        for config in configs:
            network = loaded.pop() if loaded else load_network(config)
            matching = match_classes(
                network.class_names, dataset.class_names, network=network.title, data=dataset.title
            )
            if matching.note:
                say(console, f"note: {matching.note}")
            size = min(options.batch_size, len(examples))
            row = evaluate(network, examples, matching, batch_size=size, progress=progress)
            rows.append(_with_published(row, config))
    console.print(network_table(rows, f"{dataset.title}, {split}, {len(examples):,} images"))
    if len(rows) == 1:
        console.print(class_table(rows[0]))
    with writing(folder):
        files = write(folder, rows, data=dataset.title, split=split)
    say(console, f"see {folder}: {', '.join(files)}")
    return rows


def _with_published(row: Row, config: NetworkConfig) -> Row:
    """The row with torchvision's figures, which are for ImageNet's validation split."""
    if not config.model or config.checkpoint or "/" in config.weights:
        return row
    weights = find_weights(config.model, config.weights)
    return replace(row, published1=weights.top1, published5=weights.top5)
