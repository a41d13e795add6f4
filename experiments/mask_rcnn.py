"""Instance segmentation: which pixels belong to each object.

Lecture: "instance segmentation". Source: He et al. 2017, "Mask R-CNN": Faster R-CNN finds a box for
every object, and one more head marks the object's pixels within the box.

    python -m experiments.mask_rcnn                         nuclei of cells, small images
    python -m experiments.mask_rcnn --data.name shapes      scenes of shapes, embedded
    python -m experiments.mask_rcnn --channels 256 --data.name FOLDER --data.image-size 640
"""

from dataclasses import dataclass, replace

from cnn_jax.data import DataConfig, load_dataset
from cnn_jax.training import Experiment, TrainingConfig, compute_dtype
from experiments.tools.detection_figures import instance_figures
from experiments.tools.detectors import DetectorConfig, faster_rcnn
from experiments.tools.object_augment import object_augment
from experiments.tools.run import run


@dataclass(frozen=True)
class Config(DetectorConfig):
    """A Mask R-CNN."""


SMOKE = replace(
    Config(),
    encoder="vgg11",
    most=8,
    proposals=20,
    regions=8,
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
    dataset = load_dataset(config.data, default="nuclei", augment=augment, target="instances")
    dtype = compute_dtype(config.training.precision)
    return Experiment(
        dataset=dataset,
        task=faster_rcnn(config, dataset, dtype, masks=True),
        optimizer=config.optimizer,
        training=config.training,
        control=config.control,
        figures=instance_figures(),
    )


if __name__ == "__main__":
    run(Config, build, smoke=SMOKE)
