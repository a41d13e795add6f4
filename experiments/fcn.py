"""Fully convolutional networks: coarse scores say what is there, finer ones where it ends.

Lecture: "semantic segmentation", "coarse united with fine". Source: Long et al. 2015, section 4.2:
FCN-32s scores the last map of a classifier; FCN-16s and FCN-8s add the scores of finer maps. The
paper begins with a VGG-16 that knows ImageNet. Here a ResNet-18 begins at random by default.

    python -m experiments.fcn                               CamVid, 40 epochs each
    python -m experiments.fcn --weights default             the encoder begins with public weights
    python -m experiments.fcn --encoder vgg16 --hidden 4096 4096 --weights default
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from cnn_jax import pretrained
from cnn_jax.data import DataConfig
from cnn_jax.errors import ConfigError, check_range
from cnn_jax.models import create_model
from cnn_jax.models.fcn import from_vgg
from cnn_jax.training import (
    ControlConfig,
    Experiment,
    OptimizerConfig,
    Result,
    TrainingConfig,
    Variables,
    compute_dtype,
)
from experiments.tools.public_encoder import with_encoder
from experiments.tools.run import run
from experiments.tools.segmentation_figures import segmentation_figures, study_figures
from experiments.tools.segmenter import (
    SMOKE_DATA,
    PixelAugmentConfig,
    PixelLossConfig,
    load_masks,
    segmentation,
)

SKIPS = {32: 0, 16: 1, 8: 2}
"""Number of finer maps by the stride of the finest one."""


@dataclass(frozen=True)
class Config:
    """FCN-32s, FCN-16s and FCN-8s."""

    strides: tuple[Literal[32, 16, 8], ...] = (32, 16, 8)
    """Strides of the finest map that is scored; a network is trained with each."""
    encoder: str = "resnet18"
    """A classifier, such as vgg16_bn; the strides are those of one whose last map has stride 32."""
    weights: str = ""
    """Public weights that the encoder begins with, such as IMAGENET1K_V1; default: the usual ones;
    by default none."""
    hidden: tuple[int, ...] = ()
    """Channels of the convolutions before the coarsest scores; VGG's linear layers: 4096 4096."""
    loss: PixelLossConfig = field(default_factory=PixelLossConfig)
    augment: PixelAugmentConfig = field(default_factory=PixelAugmentConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            name="adamw", learning_rate=1e-3, schedule="poly", weight_decay=1e-2
        )
    )
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            duration="40 epochs", batch_size=8, eval_batch_size=16, save_every="10 epochs"
        )
    )
    control: ControlConfig = field(default_factory=ControlConfig)

    def __post_init__(self) -> None:
        check_range(self, 1, hidden=self.hidden)
        if not self.strides:
            raise ConfigError("--strides needs at least one of 32, 16, 8")


SMOKE = replace(
    Config(),
    strides=(32, 16),
    encoder="simple_cnn",
    data=SMOKE_DATA,
    training=TrainingConfig(duration="12 steps", batch_size=16),
)


def build(config: Config) -> dict[str, Experiment]:
    """One experiment for each stride, all on the same data."""
    dataset = load_masks(config.data, config.augment)
    initialize = from_classifier(config) if config.weights else None

    def experiment(skips: int) -> Experiment:
        model = create_model(
            f"fcn{32 // 2**skips}s",
            encoder=config.encoder,
            hidden=config.hidden,
            num_classes=dataset.num_classes,
            dtype=compute_dtype(config.training.precision),
        )
        return Experiment(
            dataset=dataset,
            task=segmentation(model, config.loss, dataset),
            optimizer=config.optimizer,
            training=config.training,
            control=config.control,
            initialize=initialize,
            figures=segmentation_figures(),
        )

    return {f"fcn{stride}s": experiment(SKIPS[stride]) for stride in config.strides}


def from_classifier(config: Config) -> Callable[[Variables, Mapping[str, Result]], Variables]:
    """What replaces the fresh encoder by that of a classifier with public weights."""
    weights = "" if config.weights == "default" else config.weights
    source = pretrained.load(config.encoder, weights).variables

    def initialize(fresh: Variables, earlier: Mapping[str, Result]) -> Variables:
        changed = with_encoder(fresh, source)
        if config.encoder.startswith("vgg") and config.hidden == (4096, 4096):
            # Its linear layers become convolutions (section 3.1).
            changed["params"]["head"] = fresh["params"]["head"] | from_vgg(source)["head"]
        return changed

    return initialize


def compare(results: Mapping[str, Result]) -> dict[str, Any]:
    """Mean IoU over the steps, accuracy near borders, and the predictions for the same images."""
    return study_figures(results, what="FCN")


if __name__ == "__main__":
    run(Config, build, smoke=SMOKE, compare=compare)
