"""Any network on one's own images, and the flags of a classifier's loss."""

from types import SimpleNamespace

import numpy as np
import pytest

from cnn_jax.data import RandomFlip, from_arrays
from cnn_jax.errors import ConfigError
from cnn_jax.models import create_model
from cnn_jax.training import Experiment, OptimizerConfig, TrainingConfig
from cnn_jax.visual import NothingToDraw
from experiments.tools.classifier import LossConfig, classification
from experiments.tools.figures import classification_figures
from experiments.train import SMOKE, augmentations, build
from tests.training.small import ConvNet

IMAGES = np.zeros((8, 8, 8, 1), np.uint8)
LABELS = np.array([0, 0, 0, 0, 0, 0, 1, 1])


def two_classes():
    return from_arrays({"train": (IMAGES, LABELS)}, validation="none", class_names=("a", "b"))


def test_balanced_weights_are_those_of_the_training_labels():
    loss = LossConfig(class_weights=("balanced",))
    assert classification(ConvNet(2), loss, two_classes()).class_weights == pytest.approx(
        (8 / 12, 8 / 4)
    )


def test_the_fields_of_a_loss_reach_the_task():
    loss = LossConfig(name="focal", class_weights=("1", "2.5"), focal_gamma=1.5, ignore_index=-1)
    task = classification(ConvNet(2), loss, two_classes())
    assert (task.loss, task.class_weights, task.focal_gamma, task.ignore_index) == (
        "focal",
        (1.0, 2.5),
        1.5,
        -1,
    )
    smoothed = classification(ConvNet(2), LossConfig(label_smoothing=0.1), two_classes())
    assert (smoothed.loss, smoothed.label_smoothing) == ("softmax", 0.1)


@pytest.mark.parametrize("given", [("1",), ("1", "2", "3"), ("1", "high"), ("balanced", "1")])
def test_class_weights_that_are_not_one_number_a_class(given):
    with pytest.raises(ConfigError, match=r"--loss.class-weights must be balanced, or 2 numbers"):
        classification(ConvNet(2), LossConfig(class_weights=given), two_classes())


def test_small_images_are_shifted_and_large_ones_cropped_to_a_part():
    names = {
        (choice, size): [type(one).__name__ for one in augmentations(choice, (size, size, 3))]
        for choice in ("auto", "none", "crop", "part")
        for size in (32, 64)
    }
    shifted, part = ["RandomCrop", "RandomFlip"], ["RandomResizedCrop", "RandomFlip"]
    assert names == {
        ("auto", 32): shifted,
        ("auto", 64): part,
        ("none", 32): [],
        ("none", 64): [],
        ("crop", 32): shifted,
        ("crop", 64): shifted,
        ("part", 32): part,
        ("part", 64): part,
    }


def test_augmentations_are_of_the_size_that_the_data_set_has():
    experiment = build(SMOKE)
    (crop,) = experiment.dataset.augment  # digits are not mirrored
    assert crop.padding == 1
    assert not isinstance(crop, RandomFlip)


def test_a_network_without_convolutions_has_no_filters():
    model = create_model("mlp", num_classes=2)
    task = classification(model, LossConfig(), two_classes())
    experiment = Experiment(two_classes(), task, OptimizerConfig(), TrainingConfig())
    result = SimpleNamespace(experiment=experiment, variables={})
    with pytest.raises(NothingToDraw, match="no convolution"):
        classification_figures()["filters"](result)
