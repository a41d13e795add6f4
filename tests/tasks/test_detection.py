"""Losses and detections of one image, by hand; whole networks are in `tests/pretrained`."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import ShapeDtypeStruct

from cnn_jax.errors import ConfigError
from cnn_jax.models import RetinaNet
from cnn_jax.tasks import Detection
from cnn_jax.tasks.detection import focal_losses
from cnn_jax.tasks.detections import detections_of_anchors

ANCHORS = jnp.array([[0.0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 20, 22], [30, 30, 40, 40]])
BOXES = jnp.array([[0.0, 0, 10, 10], [5, 5, 5, 9], [0, 0, 0, 0]])
LABELS = jnp.array([1, 0, -1])


def focal(logits, deltas, boxes=BOXES, labels=LABELS, **options):
    return focal_losses(logits, deltas, ANCHORS, boxes, labels, **options)


def test_focal_losses_by_hand():
    """Anchor 0 is the object's; 1 overlaps by half, 2 and 3 show the background."""
    logits, deltas = jnp.zeros((4, 2)), jnp.full((4, 4), 0.5)
    positive, negative = 0.25 * 0.25 * np.log(2), 0.75 * 0.25 * np.log(2)
    # Between the thresholds of 0.4 and 0.5 lies none; 0.5 is a match.
    of_classes = 2 * (positive + negative) + 2 * 2 * negative
    losses = focal(logits, deltas)
    np.testing.assert_allclose(losses["classification_loss"], of_classes / 2, rtol=1e-6)
    # The code of the object from anchor 1: half its height further down, twice as high.
    of_box = 4 * 0.5 + (0.5 + 0 + 0.5 + (np.log(2) - 0.5))
    np.testing.assert_allclose(losses["box_loss"], of_box / 2, rtol=1e-6)


def test_anchors_between_the_thresholds_do_not_count():
    boxes, labels = jnp.array([[0.0, 0, 10, 11.2]]), jnp.array([0])
    logits = jnp.zeros((4, 2)).at[1].set(100.0)  # an IoU of 50 / 112
    far = focal(logits, jnp.zeros((4, 4)), boxes, labels)["classification_loss"]
    near = focal(jnp.zeros((4, 2)), jnp.zeros((4, 4)), boxes, labels)["classification_loss"]
    np.testing.assert_allclose(far, near)


def test_the_giou_of_perfect_boxes_costs_nothing():
    deltas = jnp.zeros((4, 4)).at[1].set(jnp.array([0, 0.5, 0, np.log(2)]))
    np.testing.assert_allclose(focal(jnp.zeros((4, 2)), deltas, box_loss="giou")["box_loss"], 0)


@pytest.mark.parametrize("box_loss", ["l1", "giou"])
def test_an_image_without_objects_has_finite_gradients(box_loss):
    labels = jnp.array([-1, 0, -1])  # the only box has no area

    def loss(logits, deltas):
        return sum(focal(logits, deltas, labels=labels, box_loss=box_loss).values())

    gradients = jax.grad(loss, (0, 1))(jnp.zeros((4, 2)), jnp.ones((4, 4)))
    assert jnp.all(jnp.isfinite(gradients[0])) and not jnp.any(gradients[1])


def test_detections_of_anchors():
    logits = jnp.array([[4.0, -9], [3, 2], [-9, -9], [1, -9]])
    found = detections_of_anchors(
        [logits[:2], logits[2:]], [jnp.zeros((2, 4))] * 2, [ANCHORS[:2], ANCHORS[2:]],
        jnp.array([35, 50]), iou_threshold=0.4, most=5,
    )  # fmt: skip
    # Of class 0 the second anchor overlaps the first one; the last is cut off at the border.
    assert found["box_labels"].tolist() == [0, 1, 0, -1, -1]
    np.testing.assert_allclose(found["scores"][:3], jax.nn.sigmoid(jnp.array([4.0, 2, 1])))
    expected = [[0, 0, 10, 10], [0, 0, 10, 5], [30, 30, 40, 35], [0] * 4, [0] * 4]
    np.testing.assert_array_equal(found["boxes"], expected)


class Dataset:
    spec: ClassVar = {"image": ShapeDtypeStruct((8, 8, 3), "u1"), "boxes": 0, "box_labels": 0}
    title, num_classes = "things", 3


@pytest.mark.usefixtures("no_shape_hook")
def test_what_does_not_fit_is_named():
    with pytest.raises(ConfigError, match="loss must be one of 'l1', 'giou', got 'l2'"):
        Detection(nn.Dense(3), box_loss="l2")
    with pytest.raises(ConfigError, match="the model has 2 outputs, and things has 3 classes"):
        Detection(RetinaNet("resnet18", num_classes=2)).check(Dataset)

    class Pictures(Dataset):
        spec: ClassVar = {"image": 0}

    with pytest.raises(ConfigError, match="needs 'boxes' of every image, .* it has image"):
        Detection(RetinaNet("resnet18", num_classes=3)).check(Pictures)
