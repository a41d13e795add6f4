"""The experiment `localization`: the box that it is compared with, and its figure."""

from dataclasses import replace

import numpy as np
import pytest

from cnn_jax.data import (
    ArraySplit,
    DataConfig,
    DataError,
    Dataset,
    StreamSplit,
    random_flip,
    random_resized_crop,
)
from cnn_jax.tasks import box_overlaps
from experiments import detection, localization, mask_rcnn
from experiments.tools.object_augment import object_augment


def dataset_of(boxes, stream=False):
    count = len(boxes)
    split = ArraySplit(
        {
            "image": np.zeros((count, 20, 40, 3), np.uint8),
            "boxes": np.array(boxes, np.float32)[:, None],
            "box_labels": np.zeros((count, 1), np.int32),
            "label": np.zeros(count, np.int32),
        }
    )
    train = StreamSplit(split, np.arange(count)) if stream else split
    return Dataset("cells", "Cells", {"train": train}, ("cell",))


@pytest.mark.parametrize("stream", [False, True])
def test_the_central_box_overlaps_most(stream):
    boxes = np.array([[10, 5, 30, 15], [8, 4, 32, 16], [0, 0, 40, 20], [12, 6, 28, 14]], np.float32)
    found = localization.central_box(dataset_of(boxes, stream))
    x0, y0, x1, y1 = found
    assert x0 == y0 == pytest.approx(1 - x1) and x1 == y1

    def overlap(share):
        centre, side = np.array([20, 10]), np.array([40, 20]) * share / 2
        box = np.concatenate([centre - side, centre + side])[None]
        return box_overlaps(box, boxes).mean()

    best = max(np.arange(2, 21) / 20, key=overlap)
    assert x1 - x0 == pytest.approx(best)
    # Where all objects fill their image, the box is the whole image.
    whole = localization.central_box(dataset_of([[0, 0, 40, 20]] * 3, stream))
    assert whole == (0, 0, 1, 1)


def test_a_data_set_without_boxes_is_refused():
    config = replace(localization.SMOKE, data=DataConfig(name="digits"))
    with pytest.raises(DataError, match="digits 8x8 have no boxes, only image, label: name"):
        localization.build(config)


def test_the_augmentation_of_images_with_boxes():
    flip, crop, colour = object_augment(0.4)
    assert flip == random_flip() and crop == random_resized_crop(scale=(0.4, 1.0))
    assert object_augment(1.0) == [flip, colour]
    for experiment in (localization, detection, mask_rcnn):
        dataset = experiment.build(replace(experiment.SMOKE, least_area=0.4)).dataset
        assert list(dataset.augment) == object_augment(0.4)
