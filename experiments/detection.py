"""Detection: the class and the box of every object, however many there are.

Lecture: "object detection". Source: Lin et al. 2017, "Focal Loss for Dense Object Detection": a
network on a feature pyramid looks at anchors of all sizes at every place, and the focal loss keeps
the many that show nothing from drowning the few that show an object.

    python -m experiments.detection                         BCCD, blood cells, 100 epochs
    python -m experiments.detection --data.name shapes      scenes of shapes, embedded
    python -m experiments.detection --encoder resnet50 --version 2 --data.name FOLDER
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from cnn_jax.data import (
    DataConfig,
    Dataset,
    colour_jitter,
    load_dataset,
    random_flip,
    random_resized_crop,
)
from cnn_jax.errors import ConfigError, check_range
from cnn_jax.models import RetinaNet
from cnn_jax.tasks import Detection, Detections, Truths, box_overlaps
from cnn_jax.tasks.detection import OBJECTS, scored_images
from cnn_jax.training import (
    ControlConfig,
    Experiment,
    OptimizerConfig,
    Result,
    TrainingConfig,
    compute_dtype,
)
from cnn_jax.visual import BoxedImage, box_grid, class_scores, training_curves
from experiments.tools.run import run

SHOWN = 12
"""Number of images whose boxes are drawn."""
SURE = 0.5
"""Least score of a box that is drawn."""
RIGHT = 0.5
"""Least overlap of a box that is right."""
LEVELS = 5
"""Levels of the feature pyramid."""


@dataclass(frozen=True)
class Config:
    """A RetinaNet."""

    encoder: str = "resnet18"
    """Any classifier with feature maps of three strides; the pyramid has two coarser levels."""
    version: Literal[1, 2] = 1
    """2: with GroupNorm in the heads and trained with GIoU, as torchvision's second version."""
    anchor_sizes: tuple[float, ...] = ()
    """Smallest anchor of each of the five levels in pixels; by default the longer side of the
    images, a half, a quarter, an eighth and a sixteenth of it."""
    least_area: float = 0.4
    """Least share of a training image that is cut out at random and enlarged to its size; 1:
    none."""
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            name="adamw",
            learning_rate=5e-4,
            schedule="cosine",
            warmup="1 epoch",
            weight_decay=0.05,
            clip_norm=1.0,
        )
    )
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            duration="100 epochs",
            batch_size=8,
            eval_batch_size=8,
            evaluate_every="10 epochs",
            save_every="10 epochs",
        )
    )
    control: ControlConfig = field(default_factory=ControlConfig)

    def __post_init__(self) -> None:
        check_range(self, 0, 1, above=True, least_area=self.least_area)
        check_range(self, 0, above=True, anchor_sizes=self.anchor_sizes)
        if self.anchor_sizes and len(self.anchor_sizes) != LEVELS:
            raise ConfigError(
                f"--anchor-sizes needs one size for each of the {LEVELS} levels, got "
                f"{len(self.anchor_sizes)}"
            )


SMOKE = replace(
    Config(),
    encoder="vgg11",
    data=DataConfig(
        name="shapes",
        image_size=32,
        train="train[:96]",
        validation="validation[:16]",
        test="test[:16]",
    ),
    training=TrainingConfig(duration="12 steps", batch_size=16),
)


def build(config: Config) -> Experiment:
    """The experiment that a configuration describes."""
    augment: list[Any] = [random_flip()]
    if config.least_area < 1:
        augment.append(random_resized_crop(scale=(config.least_area, 1.0)))
    augment.append(colour_jitter(0.3, 0.3, 0.3, 0.05))
    dataset = load_dataset(config.data, default="bccd", augment=augment, target="boxes")
    model = RetinaNet(
        config.encoder,
        version=config.version,
        num_classes=dataset.num_classes,
        anchor_sizes=config.anchor_sizes or anchor_sizes(dataset),
        dtype=compute_dtype(config.training.precision),
    )
    task = Detection(
        model,
        box_loss="giou" if config.version == 2 else "l1",
        class_names=dataset.class_names,
    )
    return Experiment(
        dataset=dataset,
        task=task,
        optimizer=config.optimizer,
        training=config.training,
        control=config.control,
        figures=figures(),
    )


def anchor_sizes(dataset: Dataset) -> tuple[float, ...]:
    """The longer side of the images, and its halves, the smallest first."""
    longer = max(dataset.image_shape[:2])
    return tuple(longer / 2**n for n in reversed(range(LEVELS)))


def figures() -> dict[str, Callable[[Result], Any]]:
    """Curves, images with boxes, and the average precision of each class, by file name."""
    return {
        "curves": lambda result: training_curves(
            result.rows, title=f"{result.experiment.dataset.title}, training"
        ),
        "boxes": _boxes,
        "classes": _classes,
    }


def _boxes(result: Result) -> Any:
    """Images from the most to the fewest errors, in equal steps of the ranks."""
    dataset = result.experiment.dataset
    split = dataset.splits[result.held_out]
    examples = [split[index] for index in range(len(split))]
    names = [name for name in OBJECTS if name in dataset.spec]
    truths = {name: np.stack([np.asarray(one[name]) for one in examples]) for name in names}
    images, shares = [], []
    for example, (found, truth) in zip(
        examples, scored_images(result.outputs(result.held_out), truths), strict=True
    ):
        sure = found.scores >= SURE
        found = Detections(found.boxes[sure], found.labels[sure], found.scores[sure])
        objects = len(truth.boxes)
        right = rightly_found(found, truth)
        wrong, missed = len(found.boxes) - right, objects - right
        shares.append((wrong + missed) / max(wrong + missed + right, 1))
        caption = f"{right} of {objects} found\n{wrong} wrong"
        images.append(BoxedImage(np.asarray(example["image"]), truth.boxes, found.boxes, caption))
    ranks = np.linspace(0, len(images) - 1, min(SHOWN, len(images))).round().astype(int)
    chosen = np.argsort(-np.array(shares), kind="stable")[ranks].tolist()
    ap = result.summary[result.held_out]["AP50"]
    title = f"{dataset.title}, {result.held_out}: AP50 {ap:.3f}, boxes with a score of {SURE}"
    return box_grid([images[index] for index in chosen], title=title, columns=4)


def rightly_found(found: Detections, truth: Truths) -> int:
    """How many objects have a box of their class, each its own, with an overlap of 1/2 or more.

    Boxes choose in the order of their scores.
    """
    overlaps = box_overlaps(found.boxes, truth.boxes)
    overlaps[found.labels[:, None] != truth.labels[None, :]] = 0
    number = 0
    for row in overlaps:
        if len(row) and row.max() >= RIGHT:
            number += 1
            overlaps[:, row.argmax()] = 0
    return number


def _classes(result: Result) -> Any:
    dataset, scores = result.experiment.dataset, result.summary[result.held_out]
    return class_scores(
        dataset.class_names,
        {"AP": [scores[f"AP/{name}"] for name in dataset.class_names]},
        title=f"{dataset.title}, {result.held_out}: AP {scores['AP']:.3f} (COCO's)",
    )


if __name__ == "__main__":
    run(Config, build, smoke=SMOKE)
