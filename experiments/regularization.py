"""A network that overfits, regularized by each method of the lecture, alone and together.

Lecture: "Training: simplify the architecture, L2, early stopping, DropOut, BatchNorm, dataset
augmentation, pretraining"; "BatchNorm needs a sufficient batch size". Pretraining follows Gidaris,
Singh and Komodakis 2018: the network first learns to predict the rotation of unlabelled images.

    python -m experiments.regularization                    1,000 labelled images of Fashion-MNIST
    python -m experiments.regularization --images 300

Cost: 6 minutes on two CPU cores.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from flax import linen as nn

from cnn_jax.data import ArraySplit, DataConfig, Dataset, load_dataset, random_crop, random_flip
from cnn_jax.errors import ConfigError, check_range
from cnn_jax.models import MLP, SimpleCNN
from cnn_jax.tasks import Classification
from cnn_jax.training import (
    ControlConfig,
    Experiment,
    OptimizerConfig,
    Result,
    TrainingConfig,
    check_durations,
    compute_dtype,
)
from cnn_jax.training.experiment import Variables
from cnn_jax.visual import accuracy_gaps, accuracy_over_batch_size
from experiments.tools.figures import classification_figures
from experiments.tools.run import run

SMALLER = (4, 8)
L2 = 2e-3
PATIENCE = 5
DROPOUT = 0.5
ROTATIONS = ("0°", "90°", "180°", "270°")


@dataclass(frozen=True)
class Config:
    """A small convolutional network on few images, regularized."""

    images: int = 1000
    """Labelled training images."""
    means: tuple[str, ...] = (
        "smaller",
        "l2",
        "early-stopping",
        "dropout",
        "batch-norm",
        "augmentation",
        "pretraining",
        "together",
    )
    """Methods against overfitting that are tried, besides "none"."""
    unlabelled: int = 20_000
    """Number of further training images for the pretraining, without their labels."""
    pretraining: str = "5 epochs"
    """Duration of the pretraining."""
    widths: tuple[int, ...] = (16, 32)
    """Channels of the network's convolutions, except in the member "smaller"."""
    batch_sizes: tuple[int, ...] = (2, 4, 8, 32)
    """Batch sizes with which an MLP is trained with and without BatchNorm."""
    hidden: tuple[int, ...] = (512, 512)
    """Neurons of the MLP's hidden layers."""
    batch_sizes_duration: str = "20 epochs"
    """Duration of the MLP's training; each batch size sees equally many examples."""
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(learning_rate=0.02, schedule="cosine")
    )
    """Its learning rate is for training.batch_size; it is proportional to the batch size."""
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            duration="60 epochs",
            batch_size=32,
            evaluate_every="2 epochs",
            save_every="20 epochs",
        )
    )
    control: ControlConfig = field(default_factory=lambda: ControlConfig(stop_patience=PATIENCE))
    """Early stopping is of the members "early-stopping" and "together" alone."""

    def __post_init__(self) -> None:
        check_range(self, 1, images=self.images)
        check_range(self, 0, unlabelled=self.unlabelled)
        check_range(self, 1, widths=self.widths, batch_sizes=self.batch_sizes, hidden=self.hidden)
        check_durations(self, pretraining=self.pretraining)
        check_durations(self, batch_sizes_duration=self.batch_sizes_duration)


SMOKE = replace(
    Config(),
    images=256,
    means=("together",),
    unlabelled=256,
    pretraining="12 steps",
    widths=(8,),
    hidden=(32,),
    # Batches must be divisible by the number of devices.
    batch_sizes=(16,),
    batch_sizes_duration="12 steps",
    data=DataConfig(name="digits"),
    training=TrainingConfig(duration="12 steps", batch_size=64, evaluate_every="4 steps"),
)


@dataclass(frozen=True)
class Means:
    """The methods against overfitting that one member uses."""

    widths: tuple[int, ...] | None = None
    l2: float = 0.0
    early_stopping: bool = False
    dropout: float = 0.0
    batch_norm: bool = False
    augmentation: bool = False
    pretraining: bool = False


NONE = Means()
MEANS = {
    "smaller": Means(widths=SMALLER),
    "l2": Means(l2=L2),
    "early-stopping": Means(early_stopping=True),
    "dropout": Means(dropout=DROPOUT),
    "batch-norm": Means(batch_norm=True),
    "augmentation": Means(augmentation=True),
    "pretraining": Means(pretraining=True),
    # All methods that keep the large network.
    "together": Means(None, L2, True, DROPOUT, True, True, True),
}


def load(config: Config) -> Dataset:
    """Load few labelled images of Fashion-MNIST or the named data set, with augmentation."""
    dataset = load_dataset(
        config.data, default="fashion_mnist", augment=[random_crop(padding=2), random_flip()]
    )
    train = in_memory(dataset, "train")
    if len(train) <= config.images:
        raise ConfigError(
            f"{dataset.title} has {len(train):,} training images, expected more than the "
            f"{config.images:,} labelled ones; set --images"
        )
    few = ArraySplit({name: array[: config.images] for name, array in train.arrays.items()})
    # Training accuracy is measured at the end, without dropout and augmentation.
    splits = dict(dataset.splits) | {"train": few, "seen": few}
    return replace(
        dataset, title=f"{dataset.title}, {config.images:,} training images", splits=splits
    )


def in_memory(dataset: Dataset, name: str) -> ArraySplit:
    """A split that is held in memory; ConfigError if it is not."""
    split = dataset.splits.get(name)
    if not isinstance(split, ArraySplit):
        raise ConfigError(
            f"{dataset.title} has no {name} split in memory; set --data.storage device and leave "
            f"--data.{name} at its default"
        )
    return split


def load_rotations(config: Config) -> Dataset:
    """Load the images after the labelled ones, rotated; labels are the rotations."""
    dataset = load_dataset(config.data, default="fashion_mnist")
    generator = np.random.default_rng(0)

    def turned(images: np.ndarray) -> ArraySplit:
        turns = generator.integers(0, 4, len(images), dtype=np.int32)
        rotated = [np.rot90(image, k) for image, k in zip(images, turns, strict=True)]
        return ArraySplit({"image": np.stack(rotated), "label": turns})

    first = config.images
    images = {name: in_memory(dataset, name).arrays["image"] for name in ("train", "validation")}
    images["train"] = images["train"][first : first + config.unlabelled]
    return replace(
        dataset,
        title=f"{dataset.title}, rotated images",
        splits={split: turned(array) for split, array in images.items()},
        class_names=ROTATIONS,
    )


def build(config: Config) -> dict[str, Experiment]:
    """One experiment per method against overfitting, and two per batch size."""
    if unknown := set(config.means) - set(MEANS):
        raise ConfigError(
            f"unknown means {', '.join(map(repr, sorted(unknown)))}; there are {', '.join(MEANS)}"
        )
    dataset = load(config)
    figures = {name: classification_figures()[name] for name in ("curves", "confusion")}
    no_early_stopping = replace(config.control, stop_patience=0)

    def experiment(
        member: Means,
        training: TrainingConfig = config.training,
        dataset: Dataset = dataset,
        model: nn.Module | None = None,
    ) -> Experiment:
        scale = training.batch_size / config.training.batch_size
        rate = config.optimizer.learning_rate * scale
        return Experiment(
            dataset=dataset if member.augmentation else replace(dataset, augment=()),
            task=Classification(model or convolutional(config, member, dataset.num_classes)),
            optimizer=replace(config.optimizer, l2=member.l2, learning_rate=rate),
            training=training,
            control=config.control if member.early_stopping else no_early_stopping,
            initialize=take_pretrained if member.pretraining else None,
            figures=figures,
        )

    study = {"none": experiment(NONE)}
    if any(MEANS[name].pretraining for name in config.means):
        training = replace(
            config.training, batch_size=4 * config.training.batch_size, duration=config.pretraining
        )
        study["rotations"] = experiment(NONE, training, load_rotations(config))
    for name in config.means:
        study[name] = experiment(MEANS[name])
    for size in config.batch_sizes:
        training = replace(config.training, batch_size=size, duration=config.batch_sizes_duration)
        for member in (NONE, MEANS["batch-norm"]):
            # Statistics of a convolution are also over all places of an image, so they hardly need
            # a batch; a dense layer has one value per image.
            model = dense(config, member, dataset.num_classes)
            study[batch_member(size, member)] = experiment(member, training, model=model)
    return study


def convolutional(config: Config, member: Means, num_classes: int) -> SimpleCNN:
    """The convolutional network of a member."""
    return SimpleCNN(
        member.widths or config.widths,
        num_classes=num_classes,
        dropout=member.dropout,
        norm="batch" if member.batch_norm else "none",
        dtype=compute_dtype(config.training.precision),
    )


def dense(config: Config, member: Means, num_classes: int) -> MLP:
    """The MLP that is trained with each batch size."""
    return MLP(
        config.hidden,
        num_classes,
        kernel_init="he",
        norm="batch" if member.batch_norm else "none",
        dtype=compute_dtype(config.training.precision),
    )


def batch_member(size: int, member: Means) -> str:
    """Name of the experiment with a batch size."""
    return f"batch-{size}" + "-batch-norm" * member.batch_norm


def take_pretrained(fresh: Variables, earlier: Mapping[str, Result]) -> Variables:
    """Take the convolutions trained on rotations; before BatchNorm they have no biases."""
    pretrained = earlier["rotations"].variables["params"]["body"]
    body = {
        layer: {name: pretrained[layer][name] for name in arrays} if layer in pretrained else arrays
        for layer, arrays in fresh["params"]["body"].items()
    }
    return fresh | {"params": fresh["params"] | {"body": body}}


def compare(results: Mapping[str, Result]) -> dict[str, Any]:
    """Train and test accuracy of each method, and the accuracy over the batch size."""
    title, split = results["none"].experiment.dataset.title, results["none"].held_out

    def held_out(name: str) -> float:
        return results[name].summary[split]["accuracy"]

    gaps = {
        name: (seen_accuracy(results[name]), held_out(name))
        for name in ("none", *MEANS)
        if name in results
    }
    figures = {
        "regularization": accuracy_gaps(
            gaps, ("train", split), title=f"{title}: accuracy on train and {split}"
        )
    }
    sizes = sorted(
        {
            result.experiment.training.batch_size
            for name, result in results.items()
            if name.startswith("batch-") and name not in MEANS
        }
    )
    if sizes:
        by_size = {
            label: [held_out(batch_member(size, member)) for size in sizes]
            for label, member in (
                ("without BatchNorm", NONE),
                ("with BatchNorm", MEANS["batch-norm"]),
            )
        }
        figures["batch_size"] = accuracy_over_batch_size(
            sizes, by_size, title=f"{title}: {split} accuracy of an MLP by batch size"
        )
    return figures


def seen_accuracy(result: Result) -> float:
    """Accuracy of the final network on the training images, without dropout and augmentation."""
    labels = in_memory(result.experiment.dataset, "seen").arrays["label"]
    return float(np.mean(np.argmax(result.outputs("seen"), axis=-1) == labels))


if __name__ == "__main__":
    run(Config, build, smoke=SMOKE, compare=compare)
