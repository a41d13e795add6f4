"""Any network on your own images: what you would try first, without pretraining.

Lecture: "Training". The starting point for a data set of one's own; with few images, finetune
starts from what a network has learned on others.

    python -m experiments.train --data.name ./flowers --data.image-size 128
    python -m experiments.train --model cifar_resnet20 --data.name arrays.npz
    … --loss.class-weights balanced                         classes of very different sizes
    … --control.stop-patience 10                            the weights of the best epoch
    python -m experiments.predict --run runs/train/1234abcd photos/

Images of 64 pixels and more are cropped to a random part and mirrored, smaller ones shifted and
mirrored, where that makes sense for the data set.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

from cnn_jax.data import (
    Augment,
    DataConfig,
    load_dataset,
    random_crop,
    random_flip,
    random_resized_crop,
)
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

SMALL = 64
"""Images below this height and width are shifted, larger ones cropped to a random part."""


@dataclass(frozen=True)
class Config:
    """Any network, from a random start, on any classified images."""

    model: str = "resnet18"
    """Name of a model; python -m experiments.summary lists them."""
    stem: Literal["", "cifar"] = ""
    """cifar: one 3x3 convolution in place of the 7x7 one and the pooling, for images of less than
    about 64 pixels. For ResNets."""
    augment: Literal["auto", "crop", "part", "none"] = "auto"
    """crop: shifted by up to an eighth, and mirrored; part: a random part of 8 to 100% of the
    area, and mirrored; auto: crop below 64 pixels, else part."""
    loss: LossConfig = field(default_factory=LossConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            name="adamw", learning_rate=2e-3, schedule="one_cycle", weight_decay=0.05
        )
    )
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(duration="30 epochs", batch_size=64)
    )
    control: ControlConfig = field(default_factory=ControlConfig)


SMOKE = replace(
    Config(),
    model="cifar_resnet20",
    data=DataConfig(name="digits"),
    training=TrainingConfig(duration="12 steps", batch_size=16),
)


def augmentations(choice: str, image_shape: tuple[int, int, int]) -> list[Augment]:
    """The augmentations of ``--augment``, for images of a height, width and channels."""
    size = min(image_shape[:2])
    if choice == "none":
        return []
    if choice == "part" or (choice == "auto" and size >= SMALL):
        return [random_resized_crop(), random_flip()]
    return [random_crop(padding=max(1, size // 8)), random_flip()]


def build(config: Config) -> Experiment:
    """The experiment that a configuration describes."""
    augment = partial(augmentations, config.augment)
    dataset = load_dataset(config.data, default="cifar10", augment=augment)
    model = create_model(
        config.model,
        num_classes=dataset.num_classes,
        dtype=compute_dtype(config.training.precision),
        **({"stem": config.stem} if config.stem else {}),
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
