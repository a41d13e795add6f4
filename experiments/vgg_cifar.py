"""VGG on CIFAR-10: a deep network of 3x3 convolutions alone.

Lecture: "VGG". Source: Simonyan and Zisserman 2014; Liu and Deng 2015 for the variant for 32x32
pixels, with BatchNorm and one linear layer.

    python -m experiments.vgg_cifar                         VGG-16, 30 epochs
    python -m experiments.vgg_cifar --depth 11 --training.duration 3epochs
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from cnn_jax.data import DataConfig, load_dataset, random_crop, random_flip
from cnn_jax.models import create_model
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
    """VGG on CIFAR-10."""

    depth: Literal[11, 13, 16, 19] = 16
    """Number of layers with weights, counted as in the ImageNet networks."""
    loss: LossConfig = field(default_factory=LossConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            learning_rate=0.1, schedule="one_cycle", l2=5e-4, decay_all=True
        )
    )
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(duration="30 epochs"))
    control: ControlConfig = field(default_factory=ControlConfig)


SMOKE = replace(
    Config(),
    depth=11,
    data=DataConfig(name="digits", image_size=32),
    training=TrainingConfig(duration="12 steps", batch_size=16),
)


def build(config: Config) -> Experiment:
    """The experiment that a configuration describes."""
    data = config.data
    if data.name in ("auto", "digits") and not data.image_size:
        # Five poolings need 32x32 pixels; the embedded digits are smaller.
        data = replace(data, image_size=32)
    dataset = load_dataset(data, default="cifar10", augment=[random_crop(padding=4), random_flip()])
    model = create_model(
        f"cifar_vgg{config.depth}",
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


if __name__ == "__main__":
    run(Config, build, smoke=SMOKE)
