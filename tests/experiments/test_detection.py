"""The experiment `detection`: its anchors, and what its figure counts."""

import dataclasses

import numpy as np
import pytest

from cnn_jax.data import ArraySplit, Dataset
from cnn_jax.errors import ConfigError
from cnn_jax.tasks import Detections, Truths
from experiments import detection


def test_anchors_are_as_large_as_the_images():
    split = ArraySplit({"image": np.zeros((1, 48, 64, 3), np.uint8)})
    dataset = Dataset("cells", "Cells", {"train": split}, ("cell",))
    assert detection.anchor_sizes(dataset) == (4, 8, 16, 32, 64)
    with pytest.raises(ConfigError, match="--anchor-sizes needs one size for each of the 5"):
        dataclasses.replace(detection.SMOKE, anchor_sizes=(8.0, 16.0))


def test_an_object_is_found_once_by_a_box_of_its_class():
    boxes = np.array([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10], [40, 0, 50, 10]])
    found = Detections(boxes, np.array([0, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.6]))
    truth = Truths(np.array([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 44, 10]]), np.zeros(3, int))
    # The second box has the same object, the third another class, the fourth too small an overlap.
    assert detection.rightly_found(found, truth) == 1
    nothing = Truths(np.zeros((0, 4)), np.zeros(0, int))
    assert detection.rightly_found(found, nothing) == 0
