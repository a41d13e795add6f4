"""One network says what is in an image and where: a class and a box.

Lecture: "classification + localization". A classifier's maps have a second head, the four numbers
of a box, and both losses are added. The comparison is a box in the centre of every image.

    python -m experiments.localization                      Tiny ImageNet, 10 classes, 30 epochs
    python -m experiments.localization --loss smooth_l1
    python -m experiments.localization --model vgg11_bn --data.name shapes
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from cnn_jax.data import (
    ArraySplit,
    DataConfig,
    Dataset,
    load_dataset,
)
from cnn_jax.errors import check_range
from cnn_jax.models import create_model
from cnn_jax.tasks import Localization, box_overlaps
from cnn_jax.tasks.localization import BoxLoss
from cnn_jax.training import (
    ControlConfig,
    Experiment,
    OptimizerConfig,
    Result,
    TrainingConfig,
    compute_dtype,
)
from cnn_jax.visual import BoxedImage, box_grid, training_curves
from experiments.tools.object_augment import object_augment
from experiments.tools.run import run

SHOWN = 12
"""Number of images whose boxes are drawn."""
MEASURED = 10_000
"""Largest number of training images from which the central box is computed."""


@dataclass(frozen=True)
class Config:
    """A classifier with a box."""

    model: str = "resnet18"
    """Any classifier with feature maps, whose maps both heads are computed from."""
    loss: BoxLoss = "giou"
    """giou: one minus the generalized IoU; smooth_l1: of the corners, as shares of the sides."""
    box_weight: float = 2.0
    """Weight of the loss of the boxes; that of the classes has the weight 1."""
    least_area: float = 0.4
    """Least share of a training image that is cut out at random and enlarged to its size; 1:
    none."""
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            name="adamw", learning_rate=1e-3, schedule="cosine", warmup="1 epoch", weight_decay=0.05
        )
    )
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(duration="30 epochs", batch_size=64)
    )
    control: ControlConfig = field(default_factory=ControlConfig)

    def __post_init__(self) -> None:
        check_range(self, 0, box_weight=self.box_weight)
        check_range(self, 0, 1, above=True, least_area=self.least_area)


SMOKE = replace(
    Config(),
    model="simple_cnn",
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
    augment = object_augment(config.least_area)
    dataset = load_dataset(
        config.data, default="tiny_imagenet_boxes", augment=augment, target="box"
    )
    model = create_model(
        "localizer",
        encoder=config.model,
        num_classes=dataset.num_classes,
        dtype=compute_dtype(config.training.precision),
    )
    task = Localization(
        model, loss=config.loss, box_weight=config.box_weight, centre_box=central_box(dataset)
    )
    return Experiment(
        dataset=dataset,
        task=task,
        optimizer=config.optimizer,
        training=config.training,
        control=config.control,
        figures=figures(),
    )


def central_box(dataset: Dataset) -> tuple[float, float, float, float]:
    """The box in the centre that overlaps those of the training images most, as shares.

    Its sides have the same share, in steps of 5%.
    """
    split, (height, width, _) = dataset.splits["train"], dataset.image_shape
    if isinstance(split, ArraySplit):
        boxes = split.arrays["boxes"][:, 0]
    else:
        boxes = np.stack([split[i]["boxes"] for i in range(min(len(split), MEASURED))])[:, 0]
    low = (1 - np.arange(0.1, 1.025, 0.05))[:, None] / 2
    shares = np.concatenate([low, low, 1 - low, 1 - low], axis=1).clip(0, 1)
    overlaps = box_overlaps(shares * [width, height, width, height], boxes).mean(axis=1)
    x0, y0, x1, y1 = shares[np.argmax(overlaps)].round(3).tolist()
    return x0, y0, x1, y1


def figures() -> dict[str, Callable[[Result], Any]]:
    """Curves, and images with boxes, by file name."""
    return {
        "curves": lambda result: training_curves(
            result.rows, title=f"{result.experiment.dataset.title}, training"
        ),
        "boxes": _boxes,
    }


def _boxes(result: Result) -> Any:
    """Images from the lowest to the highest overlap, in equal steps of the ranks."""
    dataset, outputs = result.experiment.dataset, result.outputs(result.held_out)
    split, names = dataset.splits[result.held_out], dataset.class_names
    truths = np.stack([np.asarray(split[i]["boxes"]) for i in range(len(split))])
    boxes = np.asarray(outputs["box"])
    overlaps = np.array(
        [box_overlaps(box[None], truth)[0, 0] for box, truth in zip(boxes, truths, strict=True)]
    )
    ranks = np.linspace(0, len(split) - 1, min(SHOWN, len(split))).round().astype(int)
    images = []
    for index in np.argsort(overlaps, kind="stable")[ranks].tolist():
        example, found = split[index], names[int(outputs["label"][index])]
        label = names[int(example["label"])]
        said = label if found == label else f"{label}, taken for {found}"
        caption = f"{said}\nIoU {overlaps[index]:.2f}"
        images.append(
            BoxedImage(np.asarray(example["image"]), truths[index], boxes[[index]], caption)
        )
    title = f"{dataset.title}, {result.held_out}: mean IoU {overlaps.mean():.3f}"
    return box_grid(images, title=f"{title}, images from the worst to the best")


if __name__ == "__main__":
    run(Config, build, smoke=SMOKE)
