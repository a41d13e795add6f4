"""SegNet: unpooling by the places of the maxima, against other ways to make a map larger.

Lecture: "change of size": unpooling, nearest, bilinear, bed of nails, transposed convolution.
Source: Badrinarayanan et al. 2017, table 1. The same encoder and decoder with each of them.

    python -m experiments.segnet                            CamVid, a small network, 30 epochs each
    python -m experiments.segnet --upsampling max_unpool bilinear
    python -m experiments.segnet --recipe paper             the published width, rate and batch size
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from cnn_jax.data import DataConfig
from cnn_jax.errors import ConfigError, check_range
from cnn_jax.models import create_model
from cnn_jax.models.segnet import Upsampling
from cnn_jax.training import (
    ControlConfig,
    Experiment,
    OptimizerConfig,
    Result,
    TrainingConfig,
    compute_dtype,
)
from experiments.tools.run import run
from experiments.tools.segmentation_figures import segmentation_figures, study_figures
from experiments.tools.segmenter import (
    SMOKE_DATA,
    PixelAugmentConfig,
    PixelLossConfig,
    load_masks,
    segmentation,
)

TITLES = {
    "max_unpool": "places of the maxima",
    "bilinear": "bilinear",
    "nearest": "nearest",
    "bed_of_nails": "bed of nails",
    "transposed": "transposed convolution",
}


@dataclass(frozen=True)
class Config:
    """SegNet with several upsamplings."""

    recipe: Literal["fast", "paper"] = "fast"
    """fast: a narrow network, AdamW; paper: the published one with SGD and median frequencies."""
    upsampling: tuple[Upsampling, ...] = get_args(Upsampling)
    """Ways to make a map larger; a network is trained with each."""
    width: int = 16
    """Channels of the first stage, which each later one doubles, up to 8 times as many."""
    stages: tuple[int, ...] = (2, 2, 3, 3, 3)
    """Number of convolutions of each stage, in the encoder and in the decoder."""
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
            duration="30 epochs", batch_size=8, eval_batch_size=16, save_every="10 epochs"
        )
    )
    control: ControlConfig = field(default_factory=ControlConfig)

    def __post_init__(self) -> None:
        check_range(self, 1, width=self.width, stages=self.stages)
        if not self.upsampling:
            raise ConfigError(
                f"--upsampling needs at least one of {', '.join(get_args(Upsampling))}"
            )


FAST = Config()
PAPER = replace(
    FAST,
    recipe="paper",
    width=64,
    loss=PixelLossConfig(class_weights=("median",)),
    optimizer=OptimizerConfig(learning_rate=0.1, nesterov=False),
    training=replace(FAST.training, duration="200 epochs", batch_size=12),
)
RECIPES = {"fast": FAST, "paper": PAPER}
SMOKE = replace(
    FAST,
    upsampling=("max_unpool", "nearest"),
    width=4,
    stages=(1, 1),
    data=SMOKE_DATA,
    training=TrainingConfig(duration="12 steps", batch_size=16),
)


def build(config: Config) -> dict[str, Experiment]:
    """One experiment for each upsampling, all on the same data."""
    dataset = load_masks(config.data, config.augment)

    def experiment(upsampling: Upsampling) -> Experiment:
        model = create_model(
            "segnet",
            upsampling=upsampling,
            stage_sizes=config.stages,
            widths=tuple(config.width * min(2**n, 8) for n in range(len(config.stages))),
            num_classes=dataset.num_classes,
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

    return {upsampling: experiment(upsampling) for upsampling in config.upsampling}


def compare(results: Mapping[str, Result]) -> dict[str, Any]:
    """Mean IoU over the steps, accuracy near borders, and the predictions for the same images."""
    return study_figures({TITLES[name]: result for name, result in results.items()}, what="SegNet")


if __name__ == "__main__":
    run(Config, build, recipes=RECIPES, smoke=SMOKE, compare=compare)
