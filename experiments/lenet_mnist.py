"""LeNet-5 on handwritten digits: convolution, pooling and full connection, learned together.

Lecture: "LeNet". Source: LeCun, Bottou, Bengio, Haffner 1998, section II.B.

    python -m experiments.lenet_mnist                           MNIST, 20 epochs
    python -m experiments.lenet_mnist --data.name fashion_mnist
    … --data.train train --data.validation none                 on all 60,000 training images

Cost: 5 to 7 minutes on two shared CPU cores.
"""

from dataclasses import dataclass, field, replace

from cnn_jax.data import DataConfig, load_dataset, random_flip
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
    """LeNet-5 on MNIST."""

    loss: LossConfig = field(default_factory=LossConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            name="adamw", learning_rate=3e-3, schedule="one_cycle", weight_decay=0.05
        )
    )
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(duration="20 epochs"))
    control: ControlConfig = field(default_factory=ControlConfig)


SMOKE = replace(
    Config(),
    data=DataConfig(name="digits", image_size=28),
    training=TrainingConfig(duration="12 steps", batch_size=64),
)


def build(config: Config) -> Experiment:
    """The experiment that a configuration describes."""
    data = config.data
    if data.name in ("auto", "digits") and not data.image_size:
        # The embedded digits have 8x8 pixels; LeNet-5 needs MNIST's 28x28.
        data = replace(data, image_size=28)
    dataset = load_dataset(data, default="mnist", augment=[random_flip()])
    model = create_model(
        "lenet5",
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
