"""GoogLeNet on CIFAR-10: what the auxiliary classifiers change.

Lecture: "GoogLeNet: intermediate outputs, 1x1 convolutions". Source: Szegedy et al. 2014, section
5: two classifiers in the middle of the network, whose losses have the weight 0.3 in training,
should bring gradients to the lower layers.

    python -m experiments.googlenet_cifar                   with and without them, 30 epochs each
    python -m experiments.googlenet_cifar --auxiliary with  only one network

The figure `auxiliary` shows the accuracy of both; `gradients` shows the gradient norm of each
layer, and so what the auxiliary losses bring to the lower layers.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from cnn_jax.data import DataConfig, load_dataset, random_crop, random_flip
from cnn_jax.errors import check_range
from cnn_jax.models import create_model
from cnn_jax.models.googlenet import BLOCKS
from cnn_jax.tasks import Classification
from cnn_jax.training import (
    ControlConfig,
    Experiment,
    OptimizerConfig,
    Result,
    TrainingConfig,
    compute_dtype,
)
from cnn_jax.visual import compared_curves, gradients_by_layer
from experiments.tools.figures import classification_figures
from experiments.tools.run import run


@dataclass(frozen=True)
class Config:
    """GoogLeNet with and without auxiliary classifiers on CIFAR-10."""

    auxiliary: Literal["both", "with", "without"] = "both"
    """Train a network with the auxiliary classifiers, one without them, or both."""
    auxiliary_weight: float = 0.3
    """Weight of each auxiliary loss."""
    dropout: float = 0.2
    """Dropout probability before the last linear layer."""
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            learning_rate=0.1, schedule="one_cycle", l2=5e-4, decay_all=True
        )
    )
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(duration="30 epochs", layer_gradients=True)
    )
    control: ControlConfig = field(default_factory=ControlConfig)

    def __post_init__(self) -> None:
        check_range(self, 0, auxiliary_weight=self.auxiliary_weight)
        check_range(self, 0, 1, dropout=self.dropout)


SMOKE = replace(
    Config(),
    auxiliary="with",
    data=DataConfig(name="digits"),
    training=TrainingConfig(duration="12 steps", batch_size=16, layer_gradients=True),
)


def build(config: Config) -> dict[str, Experiment]:
    """One experiment per network, on the same data."""
    dataset = load_dataset(
        config.data, default="cifar10", augment=[random_crop(padding=4), random_flip()]
    )

    def experiment(aux_logits: bool) -> Experiment:
        model = create_model(
            "cifar_googlenet",
            num_classes=dataset.num_classes,
            aux_logits=aux_logits,
            dropout=config.dropout,
            dtype=compute_dtype(config.training.precision),
        )
        return Experiment(
            dataset=dataset,
            task=Classification(model, auxiliary_weight=config.auxiliary_weight),
            optimizer=config.optimizer,
            training=config.training,
            control=config.control,
            figures=classification_figures(),
        )

    ways = {"without": False, "with": True}
    return {
        name: experiment(aux_logits)
        for name, aux_logits in ways.items()
        if config.auxiliary in ("both", name)
    }


def compare(results: Mapping[str, Result]) -> dict[str, Any]:
    """Accuracy of both networks over the steps, and the gradients of their blocks."""
    if len(results) == 1:
        return {}
    first = next(iter(results.values()))
    title, split = first.experiment.dataset.title, first.held_out
    runs = {
        f"{name} auxiliary classifiers: {100 * result.summary[split]['accuracy']:.2f}%": result.rows
        for name, result in results.items()
    }
    accuracy_title = f"{title}: GoogLeNet, {split} accuracy in the legend"
    figures = {"auxiliary": compared_curves(runs, quantities=("accuracy",), title=accuracy_title)}
    if first.experiment.training.layer_gradients:
        moments: dict[str, dict[str, np.ndarray]] = {"first steps": {}, "last steps": {}}
        for name, result in results.items():
            rows = [row for row in result.rows if row["split"] == "train"]
            for norms, row in zip(moments.values(), (rows[0], rows[-1]), strict=True):
                norms[f"{name} auxiliary classifiers"] = block_gradients(row)
        gradients_title = f"{title}, training: gradients of GoogLeNet, stem and nine blocks"
        figures["gradients"] = gradients_by_layer(moments, title=gradients_title)
    return figures


def block_gradients(row: Mapping[str, Any]) -> np.ndarray:
    """Gradient norms of stem and blocks, in forward order, from a row of metrics.csv."""
    return np.array(
        [
            math.hypot(*(row[name] for name in row if name.startswith(f"grad_norm/body/{block}/")))
            for block in ("conv3", *BLOCKS)
        ]
    )


if __name__ == "__main__":
    run(Config, build, smoke=SMOKE, compare=compare)
