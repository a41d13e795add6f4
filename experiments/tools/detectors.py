"""The detectors that an experiment chooses from by name, made for a data set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cnn_jax.data import DataConfig, Dataset
from cnn_jax.errors import ConfigError, check_range
from cnn_jax.models import RCNN, SSD, RetinaNet
from cnn_jax.models.checks import LEAST_ANCHOR
from cnn_jax.tasks import Detection, MultiBoxDetection, RegionDetection
from cnn_jax.training import ControlConfig, OptimizerConfig, TrainingConfig

LEVELS = 5
"""Levels of the feature pyramids."""
RETINANET_SMALLEST, RCNN_SMALLEST = 16, 32
"""The smallest anchors by default, as a part of the longer side of the images."""
LEAST = 4.0
"""The least of the smallest anchors by default, in pixels."""
MOST = 100
"""COCO's largest number of detections of an image."""


@dataclass(frozen=True)
class DetectorConfig:
    """What experiments with detectors share: the detector, its data and its training."""

    encoder: str = "resnet18"
    """Any classifier with feature maps of three strides, or four for an R-CNN; for an SSD with maps
    of the strides 8 and 16 (vgg16 is the paper's)."""
    version: Literal[1, 2] = 2
    """1: as published; 2: torchvision's second version, with more normalization in the heads, which
    learns sooner without pretrained weights. There is one SSD."""
    channels: int = 64
    """Channels of the feature pyramid and the heads, 256 in the papers; for an SSD of the map after
    the encoder's, 1024 in the paper."""
    anchor_sizes: tuple[float, ...] = ()
    """Smallest anchor of each of the five levels in pixels. By default each is twice the one
    before, and the first a sixteenth of the longer side of the images, or for an R-CNN a 32nd, but
    at least 4."""
    most: int = 0
    """Largest number of detections of an image; 0: 100, or as many as the data set has objects in
    an image, if these are more."""
    proposals: int = 500
    """Number of boxes that an R-CNN looks at in evaluation; in training it has twice as many."""
    regions: int = 64
    """Number of these boxes that an R-CNN is trained on, a quarter of them with an object."""
    least_area: float = 0.4
    """Least share of a training image that is cut out at random and enlarged to its size; 1:
    none."""
    data: DataConfig = field(default_factory=lambda: DataConfig(image_size=160))
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            name="adamw",
            learning_rate=1e-3,
            schedule="cosine",
            warmup="1 epoch",
            weight_decay=0.05,
            clip_norm=1.0,
        )
    )
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            duration="40 epochs",
            batch_size=4,
            eval_batch_size=8,
            evaluate_every="5 epochs",
            save_every="5 epochs",
        )
    )
    control: ControlConfig = field(default_factory=ControlConfig)

    def __post_init__(self) -> None:
        check_range(self, 8, channels=self.channels)
        check_range(self, 0, most=self.most)
        check_range(self, 0, 1, above=True, least_area=self.least_area)
        check_range(self, 1, proposals=self.proposals)
        check_range(self, 4, regions=self.regions)
        check_range(self, LEAST_ANCHOR, anchor_sizes=self.anchor_sizes)
        if self.anchor_sizes and len(self.anchor_sizes) != LEVELS:
            raise ConfigError(
                f"--anchor-sizes needs one size for each of the {LEVELS} levels, got "
                f"{len(self.anchor_sizes)}"
            )


def retinanet(config: DetectorConfig, dataset: Dataset, dtype: Any) -> Detection:
    """A RetinaNet, of one output for each class."""
    model = RetinaNet(
        config.encoder,
        version=config.version,
        num_classes=dataset.num_classes,
        anchor_sizes=config.anchor_sizes or anchor_sizes(dataset, RETINANET_SMALLEST),
        channels=config.channels,
        dtype=dtype,
    )
    box_loss: Any = "giou" if config.version == 2 else "l1"
    return Detection(
        model, box_loss=box_loss, most=most(config, dataset), class_names=dataset.class_names
    )


def faster_rcnn(
    config: DetectorConfig, dataset: Dataset, dtype: Any, *, masks: bool = False
) -> RegionDetection:
    """A Faster R-CNN, or Mask R-CNN, with the background as one more class."""
    model = RCNN(
        config.encoder,
        masks=masks,
        version=config.version,
        num_classes=dataset.num_classes + 1,
        anchor_sizes=config.anchor_sizes or anchor_sizes(dataset, RCNN_SMALLEST),
        channels=config.channels,
        proposals=config.proposals,
        proposals_train=2 * config.proposals,
        dtype=dtype,
    )
    return RegionDetection(
        model,
        background=False,
        regions=config.regions,
        most=most(config, dataset),
        class_names=dataset.class_names,
    )


def ssd300(config: DetectorConfig, dataset: Dataset, dtype: Any) -> MultiBoxDetection:
    """An SSD, which resizes images to 300x300 pixels, with the background as one more class."""
    if config.anchor_sizes:
        raise ConfigError("ssd300 has default boxes of its own: leave out --anchor-sizes")
    model = SSD(
        config.encoder,
        num_classes=dataset.num_classes + 1,
        channels=config.channels,
        dtype=dtype,
    )
    return MultiBoxDetection(
        model,
        background=False,
        most=most(config, dataset),
        class_names=dataset.class_names,
    )


def anchor_sizes(dataset: Dataset, smallest: int) -> tuple[float, ...]:
    """The longer side of the images divided by `smallest`, and its doubles, one for each level."""
    first = max(LEAST, max(dataset.image_shape[:2]) / smallest)
    return tuple(first * 2**level for level in range(LEVELS))


def most(config: DetectorConfig, dataset: Dataset) -> int:
    """The largest number of detections of an image."""
    return config.most or max(MOST, dataset.spec["boxes"].shape[0])


DETECTORS: Mapping[str, Callable[..., Any]] = {
    "retinanet": retinanet,
    "faster_rcnn": faster_rcnn,
    "ssd300": ssd300,
}
"""The task of each detector, with its model, from the configuration, the data set and the dtype."""
