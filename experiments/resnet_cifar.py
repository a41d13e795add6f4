"""ResNet on CIFAR-10: with identity connections, depth helps.

Lecture: "ResNet". Source: He et al. 2015, section 4.2.

    python -m experiments.resnet_cifar                      ResNet-20, 10 epochs, one cycle
    python -m experiments.resnet_cifar --recipe paper --depth 56
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from cnn_jax.data import DataConfig, Dataset, load_dataset, random_crop, random_flip
from cnn_jax.errors import check_range
from cnn_jax.models import cifar_resnet
from cnn_jax.training import (
    ControlConfig,
    Experiment,
    OptimizerConfig,
    TrainingConfig,
    compute_dtype,
)
from experiments.tools.classifier import LossConfig, classification
from experiments.tools.figures import classification_figures
from experiments.tools.run import run


@dataclass(frozen=True)
class Config:
    """ResNet on CIFAR-10."""

    recipe: Literal["fast", "paper"] = "fast"
    """fast: 10 epochs, one-cycle schedule; paper: He et al.'s 64,000 steps, option A."""
    depth: int = 20
    """Number of layers, 6n + 2: 20, 32, 44, 56, 110 or 1202 in the paper."""
    residual: bool = True
    """False gives the plain network of the same depth, without identity connections."""
    shortcut: Literal["A", "B"] = "B"
    """Shortcut where the shape changes: A pads with zeros, B uses a 1x1 convolution."""
    zero_init_residual: bool = False
    """Initialize every residual branch to zero (Goyal et al. 2017)."""
    loss: LossConfig = field(default_factory=LossConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            learning_rate=0.4, schedule="one_cycle", l2=5e-4, decay_all=True
        )
    )
    training: TrainingConfig = field(default_factory=TrainingConfig)
    control: ControlConfig = field(default_factory=ControlConfig)

    def __post_init__(self) -> None:
        check_range(self, 8, depth=self.depth)


FAST = Config()
PAPER = Config(
    recipe="paper",
    shortcut="A",
    optimizer=OptimizerConfig(
        learning_rate=0.1,
        nesterov=False,
        schedule="step",
        milestones=("32000 steps", "48000 steps"),
        l2=1e-4,
        decay_all=True,
    ),
    training=TrainingConfig(duration="64000 steps"),
)
RECIPES = {"fast": FAST, "paper": PAPER}
SMOKE = replace(
    FAST,
    depth=8,
    data=DataConfig(name="digits"),
    training=TrainingConfig(duration="12 steps", batch_size=64),
)


def load(config: DataConfig) -> Dataset:
    """Load CIFAR-10 or the named data set, with the paper's augmentation."""
    return load_dataset(config, default="cifar10", augment=[random_crop(padding=4), random_flip()])


def build(config: Config, dataset: Dataset | None = None) -> Experiment:
    """The experiment that a configuration describes, on the given data set or its own."""
    dataset = dataset or load(config.data)
    if dataset.stand_in and config == FAST:
        config, dataset = for_stand_in(config, dataset)
    model = cifar_resnet(
        config.depth,
        residual=config.residual,
        shortcut=config.shortcut,
        zero_init_residual=config.zero_init_residual,
        num_classes=dataset.num_classes,
        dtype=compute_dtype(config.training.precision),
    )
    return Experiment(
        dataset=dataset,
        task=classification(model, config.loss, dataset),
        optimizer=config.optimizer,
        training=config.training,
        control=config.control,
        figures=classification_figures(),
    )


def for_stand_in(config: Config, dataset: Dataset) -> tuple[Config, Dataset]:
    """Adapt the fast recipe to the small embedded data set, with smaller batches."""
    batch_size, rate = 32, config.optimizer.learning_rate * 32 / config.training.batch_size
    note = (
        f"batches of {batch_size} at a peak rate of {rate:g} instead of "
        f"{config.training.batch_size} at {config.optimizer.learning_rate:g}: "
        f"there are only {len(dataset.splits['train']):,} images"
    )
    return replace(
        config,
        training=replace(config.training, batch_size=batch_size),
        optimizer=replace(config.optimizer, learning_rate=rate),
    ), replace(dataset, notes=(*dataset.notes, note))


if __name__ == "__main__":
    run(Config, build, recipes=RECIPES, smoke=SMOKE)
