"""The experiments `detection` and `mask_rcnn`: their detectors, and what their figures count."""

import dataclasses

import numpy as np
import pytest

from cnn_jax.data import ArraySplit, Dataset
from cnn_jax.errors import ConfigError
from cnn_jax.tasks import Detections, RegionDetection, Truths
from cnn_jax.training import read_metrics, train
from experiments import detection, mask_rcnn
from experiments.tools.detection_figures import rightly_found
from experiments.tools.detectors import DETECTORS, anchor_sizes

ENTRIES = {"image": np.zeros((1, 48, 64, 3), np.uint8), "boxes": np.zeros((1, 120, 4), np.float32)}
DATASET = Dataset("cells", "Cells", {"train": ArraySplit(ENTRIES)}, ("cell", "nucleus"))


def test_detectors_suit_the_data_set():
    assert anchor_sizes(DATASET, 8) == (8, 16, 32, 64, 128)
    one_stage = DETECTORS["retinanet"](detection.SMOKE, DATASET, None)
    assert one_stage.model.anchor_sizes == (4, 8, 16, 32, 64) and one_stage.model.num_classes == 2
    assert one_stage.most == 120 and one_stage.class_names == ("cell", "nucleus")
    two_stage = DETECTORS["faster_rcnn"](
        dataclasses.replace(detection.SMOKE, most=7), DATASET, None
    )
    assert two_stage.model.anchor_sizes == (4, 8, 16, 32, 64) and two_stage.model.num_classes == 3
    assert two_stage.most == 7 and not two_stage.background and not two_stage.masks
    assert two_stage.model.proposals_train == 2 * two_stage.model.proposals
    ssd = DETECTORS["ssd300"](detection.SMOKE, DATASET, None)
    assert (ssd.model.encoder, ssd.model.channels, ssd.model.num_classes) == ("vgg11", 64, 3)
    assert one_stage.model.channels == two_stage.model.channels == 64
    assert ssd.most == 120 and not ssd.background and ssd.class_names == ("cell", "nucleus")


def test_what_makes_no_sense_is_named():
    for config in (detection.SMOKE, mask_rcnn.SMOKE):
        with pytest.raises(ConfigError, match="--anchor-sizes needs one size for each of the 5"):
            dataclasses.replace(config, anchor_sizes=(8.0, 16.0))
    config = dataclasses.replace(detection.SMOKE, anchor_sizes=(4.0, 8.0, 16.0, 32.0, 64.0))
    with pytest.raises(ConfigError, match="ssd300 has default boxes of its own"):
        DETECTORS["ssd300"](config, DATASET, None)


@pytest.mark.full
def test_an_ssd_trains(start, tmp_path):
    """Images of other sizes are resized to 300x300 pixels."""
    options = ("--model", "ssd300", "--encoder", "alexnet", "--channels", "32")
    data = ("--data.train", "train[:8]", "--data.validation", "validation[:2]")
    steps = ("--data.test", "test[:2]", "--training.duration", "2 steps")
    start("detection", "--smoke", *options, *data, *steps, "--training.batch-size", "8")
    (rows,) = tmp_path.glob("detection/*/metrics.csv")
    last = read_metrics(rows)[-1]
    assert last["step"] == 2 and np.isfinite(last["box_loss"]) and 0 <= last["AP50"] <= 1


def test_an_object_is_found_once_by_a_box_of_its_class():
    boxes = np.array([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10], [40, 0, 50, 10]])
    found = Detections(boxes, np.array([0, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.6]))
    truth = Truths(np.array([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 44, 10]]), np.zeros(3, int))
    # The second box has the same object, the third another class, the fourth too small an overlap.
    assert rightly_found(found, truth) == 1
    nothing = Truths(np.zeros((0, 4)), np.zeros(0, int))
    assert rightly_found(found, nothing) == 0


def test_an_object_is_found_by_its_mask():
    masks = np.zeros((2, 4, 10), bool)
    masks[0, :, :5] = masks[1, :, 6:] = True
    found = Detections(np.zeros((2, 4)), np.zeros(2, int), np.array([0.9, 0.8]), masks)
    truths = np.zeros((2, 4, 10), bool)
    truths[0, :, :6] = truths[1, :2] = True
    truth = Truths(np.zeros((2, 4)), np.zeros(2, int), masks=truths)
    assert rightly_found(found, truth, "masks") == 1


@pytest.mark.full
def test_nothing_is_compiled_after_the_first_evaluation(tmp_path, monkeypatch):
    """A function is traced before it is compiled, and images have different numbers of objects."""
    traced, at_step = [], {}
    loss_fn = RegionDetection.loss_fn

    def counted(self, *arguments):
        traced.append(arguments)
        return loss_fn(self, *arguments)

    monkeypatch.setattr(RegionDetection, "loss_fn", counted)
    training = dataclasses.replace(
        mask_rcnn.SMOKE.training, duration="7 steps", evaluate_every="3 steps", log_every="1 step"
    )
    experiment = mask_rcnn.build(dataclasses.replace(mask_rcnn.SMOKE, training=training))
    labels = experiment.dataset.splits["train"].arrays["box_labels"]
    assert len(np.unique((labels >= 0).sum(axis=1))) > 2
    train(experiment, tmp_path, writer=lambda step, _: at_step.update({step: len(traced)}))
    assert at_step[7] == at_step[3] >= 2
