"""Detection: the class and the box of every object, however many there are.

Lecture: "object detection". RetinaNet and Faster R-CNN look at anchors of all sizes at every place
of a feature pyramid. RetinaNet (Lin et al. 2017, "Focal Loss for Dense Object Detection") says at
once what is there, and the focal loss keeps the many that show nothing from drowning the few that
show an object. Faster R-CNN (Ren et al. 2015) proposes boxes first, and then looks at each of them.
SSD300 (Liu et al. 2016) has no pyramid: each of six maps finds the objects of one scale, in images
resized to 300x300 pixels, and of the anchors that show nothing only the hardest count.

    python -m experiments.detection                         BCCD, blood cells, small images
    python -m experiments.detection --model retinanet
    python -m experiments.detection --model ssd300 --encoder vgg16_bn
    python -m experiments.detection --data.name shapes      scenes of shapes, embedded
    python -m experiments.detection --channels 256 --data.name FOLDER --data.image-size 640
"""

from dataclasses import dataclass, replace
from typing import Literal

from cnn_jax.data import DataConfig, load_dataset
from cnn_jax.training import Experiment, TrainingConfig, compute_dtype
from experiments.tools.detection_figures import detection_figures
from experiments.tools.detectors import DETECTORS, DetectorConfig
from experiments.tools.object_augment import object_augment
from experiments.tools.run import run


@dataclass(frozen=True)
class Config(DetectorConfig):
    """A detector of boxes."""

    model: Literal["retinanet", "faster_rcnn", "ssd300"] = "faster_rcnn"
    """retinanet: all boxes at once; faster_rcnn: proposals, and then a look at each; ssd300: all
    boxes at once, without a pyramid."""


SMOKE = replace(
    Config(),
    model="retinanet",
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
    augment = object_augment(config.least_area)
    dataset = load_dataset(config.data, default="bccd", augment=augment, target="boxes")
    dtype = compute_dtype(config.training.precision)
    return Experiment(
        dataset=dataset,
        task=DETECTORS[config.model](config, dataset, dtype),
        optimizer=config.optimizer,
        training=config.training,
        control=config.control,
        figures=detection_figures(),
    )


if __name__ == "__main__":
    run(Config, build, smoke=SMOKE)
