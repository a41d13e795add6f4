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
from cnn_jax.tasks.detections import detections_of_anchors, detections_of_regions

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


def test_detections_of_regions():
    logits = jnp.log(jnp.array([[0.1, 0.8, 0.1], [0.1, 0.8, 0.1], [0.02, 0.9, 0.08]]))
    proposals, mask = ANCHORS[jnp.array([0, 3, 0])], jnp.array([True, True, False])
    # Class 2 has its box one width further to the right.
    deltas = jnp.zeros((3, 3, 4)).at[:, 2, 0].set(10)
    size = jnp.array([50, 60])
    found = detections_of_regions(logits, deltas, proposals, mask, size, most=6)
    assert found["box_labels"].tolist() == [1, 1, 2, 2, -1, -1]
    np.testing.assert_allclose(found["boxes"][2:4], [[10, 0, 20, 10], [40, 30, 50, 40]])
    np.testing.assert_allclose(found["scores"], [0.8, 0.8, 0.1, 0.1, 0, 0], rtol=1e-6)


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


def test_average_precision_without_padding_and_crowds():
    """One of two cells is found, surer than a box that shows nothing; a crowd is not missed."""
    cell, crowd, nothing = [0.0, 0, 10, 10], [20.0, 20, 40, 40], [50.0, 50, 60, 60]
    rows = {
        "found": {
            "boxes": np.array([[cell, nothing, [0] * 4], [crowd, [0] * 4, [0] * 4]]),
            "scores": np.array([[0.9, 0.8, 0], [0.7, 0, 0]]),
            "box_labels": np.array([[1, 1, -1], [1, -1, -1]]),
        },
        "truths": {
            "boxes": np.array([[cell, [0] * 4], [crowd, cell]]),
            "box_labels": np.array([[1, -1], [-1, 1]]),
            "crowd_labels": np.array([[-1, -1], [1, -1]]),
        },
    }
    task = Detection(RetinaNet("resnet18", num_classes=2), class_names=("platelet", "cell"))
    scores = task.measure(rows)
    # A precision of 1 at the recalls up to 1/2.
    for name in ("AP", "AP50", "AP75", "AP/cell"):
        assert scores[name] == pytest.approx(51 / 101)
    assert scores["AR100"] == pytest.approx(0.5)
    assert np.isnan(scores["AP/platelet"])
    assert set(scores) == {"AP", "AP50", "AP75", "AR100", "AP/platelet", "AP/cell"}


def test_rows_are_the_detections_and_the_objects():
    class Anchors(nn.Module):
        """A surer box of the first class than of the second, whatever the image."""

        num_classes = 2

        @nn.compact
        def __call__(self, x, *, train):
            bias = self.param("bias", nn.initializers.zeros_init(), (1, 2))
            logits = jnp.tile(jnp.array([[3.0, 1.0]]) + bias, (len(x), 1, 1))
            deltas = jnp.zeros((len(x), 1, 4))
            return {"logits": (logits,), "deltas": (deltas,), "anchors": (ANCHORS[:1],)}

    task = Detection(Anchors(), most=3)
    batch = {
        "image": jnp.zeros((2, 8, 8, 3)),
        "boxes": jnp.zeros((2, 1, 4)),
        "box_labels": jnp.zeros((2, 1), int),
        "size": jnp.array([[8, 8], [4, 8]]),
    }
    start = task.init(jax.random.key(0), {"image": ShapeDtypeStruct((8, 8, 3), "u1")})
    rows = task.rows(*start, batch)
    assert rows["found"]["box_labels"].tolist() == [[0, 1, -1]] * 2
    assert rows["found"]["boxes"][1, 0].tolist() == [0, 0, 8, 4]
    assert rows["truths"].keys() == {"boxes", "box_labels"}
