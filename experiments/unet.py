"""U-Net: the fine maps of the way down tell the way up where things are.

Lecture: "semantic segmentation", "coarse united with fine". Source: Ronneberger et al. 2015. Here
with zero padding, BatchNorm and Adam, as is common today; `--recipe paper` has the published
network, which mirrors the image at its border.

    python -m experiments.unet                              CamVid, a small network, 60 epochs
    python -m experiments.unet --recipe cells               ISBI 2012, sections of cells
    python -m experiments.unet --width 64 --training.duration 300epochs
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from cnn_jax.data import DataConfig
from cnn_jax.errors import check_range
from cnn_jax.models import create_model
from cnn_jax.models.conv_norm import OptionalNorm
from cnn_jax.training import (
    ControlConfig,
    Experiment,
    OptimizerConfig,
    TrainingConfig,
    compute_dtype,
)
from experiments.tools.run import run
from experiments.tools.segmentation_figures import segmentation_figures
from experiments.tools.segmenter import (
    SMOKE_DATA,
    PixelAugmentConfig,
    PixelLossConfig,
    load_masks,
    segmentation,
)


@dataclass(frozen=True)
class Config:
    """U-Net on street scenes, or on images of cells."""

    recipe: Literal["street", "cells", "paper"] = "street"
    """street: CamVid; cells: ISBI 2012, in all directions; paper: the published network on it."""
    width: int = 16
    """Channels of the first level, which each level below doubles."""
    levels: int = 5
    """Number of levels; each but the first is a pooling by 2."""
    encoder: str = ""
    """A classifier in place of the way down, such as resnet18."""
    border: Literal["same", "mirror"] = "same"
    """same: convolutions pad with zeros; mirror: they do not, and the image is mirrored."""
    norm: OptionalNorm = "batch"
    """Normalization after each convolution."""
    dropout: float = 0.0
    """Rate of DropOut in the two lowest levels."""
    loss: PixelLossConfig = field(default_factory=PixelLossConfig)
    augment: PixelAugmentConfig = field(default_factory=PixelAugmentConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            name="adamw", learning_rate=5e-3, schedule="cosine", warmup="1 epoch", weight_decay=1e-2
        )
    )
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            duration="60 epochs", batch_size=8, eval_batch_size=16, save_every="10 epochs"
        )
    )
    control: ControlConfig = field(default_factory=ControlConfig)

    def __post_init__(self) -> None:
        check_range(self, 1, width=self.width, levels=self.levels)
        check_range(self, 0, 1, dropout=self.dropout)


STREET = Config()
CELLS = replace(
    STREET,
    recipe="cells",
    augment=PixelAugmentConfig(rotate=180.0, elastic=10.0),
    data=DataConfig(name="isbi2012_em"),
    training=replace(
        STREET.training,
        duration="300 epochs",
        batch_size=8,
        eval_batch_size=2,
        evaluate_every="10 epochs",
        save_every="50 epochs",
    ),
)
PAPER = replace(
    CELLS,
    recipe="paper",
    width=64,
    border="mirror",
    norm="none",
    dropout=0.5,
    optimizer=OptimizerConfig(learning_rate=1e-3, momentum=0.99, nesterov=False),
    training=replace(CELLS.training, batch_size=1, eval_batch_size=1),
)
RECIPES = {"street": STREET, "cells": CELLS, "paper": PAPER}
SMOKE = replace(
    STREET,
    width=4,
    levels=2,
    data=SMOKE_DATA,
    training=TrainingConfig(duration="12 steps", batch_size=16),
)


def build(config: Config) -> Experiment:
    """The experiment that a configuration describes."""
    dataset = load_masks(config.data, config.augment)
    model = create_model(
        "unet",
        border=config.border,
        encoder=config.encoder or None,
        widths=tuple(config.width * 2**level for level in range(config.levels)),
        num_classes=dataset.num_classes,
        dropout=config.dropout,
        norm=config.norm,
        dtype=compute_dtype(config.training.precision),
    )
    return Experiment(
        dataset=dataset,
        task=segmentation(model, config.loss, dataset),
        optimizer=config.optimizer,
        training=config.training,
        control=config.control,
        figures=segmentation_figures(),
    )


if __name__ == "__main__":
    run(Config, build, recipes=RECIPES, smoke=SMOKE)
