"""Classifiers on ImageNet: the recipes that the published accuracies come from.

Lecture: "ResNet". Source: torchvision's reference training (its weights IMAGENET1K_V1); for the
recipe cosine He et al. 2018, "Bag of Tricks". On eight GPUs or a TPU slice:

    python -m experiments.resnet_imagenet                       ResNet-50, TFDS's imagenet2012
    python -m experiments.resnet_imagenet --data.name ./imagenet      a folder, train|val/<class>/
    … --recipe cosine --training.precision bfloat16 --data.workers 16
    python -m experiments.evaluate --models resnet50            the public weights' accuracy

Training uses random crops of 8 to 100% of an image's area. Evaluation resizes the shorter side to
256 pixels and takes the centre 224x224. The learning rate is for the default batch size; change
both in proportion (Goyal et al. 2017). The same command trains on any folder of images, such as a
part of ImageNet.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from cnn_jax.data import DataConfig, Dataset, load_dataset, random_flip, random_resized_crop
from cnn_jax.data.prepare import IMAGENET_MEAN, IMAGENET_STD
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
    """Classifiers on ImageNet."""

    recipe: Literal["step", "cosine"] = "step"
    """step: 90 epochs, the rate is divided by 10 every 30; cosine: warm-up, cosine, label
    smoothing, no decay of biases and norms, and residual branches initialized to zero."""
    model: str = "resnet50"
    """Any ResNet, ResNeXt or Wide ResNet for ImageNet; see `cnn_jax.models.list_models`."""
    zero_init_residual: bool = False
    """Initialize every residual branch to zero (Goyal et al. 2017)."""
    loss: LossConfig = field(default_factory=LossConfig)
    data: DataConfig = field(
        default_factory=lambda: DataConfig(
            name="imagenet2012", image_size=224, resize=256, storage="stream", workers=8
        )
    )
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            learning_rate=0.1,
            nesterov=False,
            schedule="step",
            milestones=("30 epochs", "60 epochs"),
            l2=1e-4,
            decay_all=True,
        )
    )
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(duration="90 epochs", batch_size=256)
    )
    control: ControlConfig = field(default_factory=ControlConfig)


STEP = Config()
COSINE = Config(
    recipe="cosine",
    zero_init_residual=True,
    loss=LossConfig(label_smoothing=0.1),
    optimizer=OptimizerConfig(learning_rate=0.4, schedule="cosine", warmup="5 epochs", l2=1e-4),
    training=replace(STEP.training, duration="120 epochs", batch_size=1024),
)
RECIPES = {"step": STEP, "cosine": COSINE}
SMOKE = replace(
    STEP,
    model="resnet18",
    data=DataConfig(name="digits", image_size=32),
    optimizer=OptimizerConfig(learning_rate=0.01),
    training=TrainingConfig(duration="12 steps", batch_size=16),
)


def load(config: DataConfig) -> Dataset:
    """Load the images, with random crops in training and the normalization of ImageNet weights."""
    dataset = load_dataset(
        config, default="imagenet2012", augment=[random_resized_crop(), random_flip()]
    )
    if dataset.image_shape[-1] != 3:
        return dataset
    return replace(dataset, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def build(config: Config) -> Experiment:
    """The experiment that a configuration describes."""
    dataset = load(config.data)
    model = create_model(
        config.model,
        num_classes=dataset.num_classes,
        zero_init_residual=config.zero_init_residual,
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
    run(Config, build, recipes=RECIPES, smoke=SMOKE)
