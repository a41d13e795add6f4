"""Losses and detections of an SSD by hand; whole networks are in `tests/pretrained`."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import ShapeDtypeStruct

from cnn_jax.errors import ConfigError
from cnn_jax.tasks import MultiBoxDetection
from cnn_jax.tasks.background import with_background, without_background
from cnn_jax.tasks.detections import detections_of_default_boxes
from cnn_jax.tasks.multibox_detection import multibox_losses
from tests.tolerance import assert_close

ANCHORS = jnp.array(
    [[0.0, 0, 10, 10], [0, 0, 10, 6], [30, 30, 40, 40], [60, 0, 70, 10], [60, 30, 70, 40]]
)
# One object fits the first anchor, one overlaps the third by a fourth, one has no area.
BOXES = jnp.array([[0.0, 0, 10, 10], [30, 30, 35, 35], [5, 5, 5, 9], [0, 0, 0, 0]])
LABELS = jnp.array([1, 2, 1, -1])


def entropy(logits, label):
    return float(-jax.nn.log_softmax(jnp.asarray(logits, float))[label])


def test_losses_by_hand():
    logits = jnp.zeros((5, 3)).at[3].set(jnp.array([0.0, 2, 1])).at[4, 0].set(9)
    deltas = jnp.zeros((5, 4)).at[0, 0].set(0.5)
    losses, number = multibox_losses(logits, deltas, ANCHORS, BOXES, LABELS)
    # Anchors 0 and 1 have the first object (IoU 1 and 0.6), anchor 2 is the second one's best.
    assert number == 3
    # Nine negatives are asked for, and there are two: positives count twice, as in torchvision.
    of_classes = 2 * 3 * np.log(3) + entropy([0, 2, 1], 0) + entropy([9, 0, 0], 0)
    assert_close(losses["classification_loss"], of_classes, rtol=1e-6)
    # Quadratic below 1, linear above, of offsets times 10 and logarithms times 5.
    second = [10 * 2 / 6, 5 * np.log(10 / 6)]
    third = [10 * 2.5 / 10] * 2 + [5 * np.log(2)] * 2
    of_box = 0.125 + sum(error - 0.5 for error in (*second, *third))
    assert_close(losses["box_loss"], of_box, rtol=1e-6)


def test_only_the_hardest_negatives_count():
    anchors = jnp.concatenate([ANCHORS[:1], ANCHORS[3:4] + jnp.arange(6.0)[:, None]])
    logits = jnp.zeros((7, 2)).at[1:, 1].set(jnp.array([1.0, 5, 3, 5, -2, 4]))

    def loss(logits):
        losses, _ = multibox_losses(logits, jnp.zeros((7, 4)), anchors, BOXES[:1], LABELS[:1])
        return losses["classification_loss"]

    value, gradient = jax.value_and_grad(loss)(logits)
    expected = np.log(2) + 2 * entropy([0, 5], 0) + entropy([0, 4], 0)
    assert_close(value, expected, rtol=1e-6)
    assert np.flatnonzero(gradient[:, 0]).tolist() == [0, 2, 4, 6]


def test_an_image_without_objects_costs_nothing():
    labels = jnp.array([-1, -1, 1, -1])  # the only object has no area

    def loss(logits, deltas):
        losses, number = multibox_losses(logits, deltas, ANCHORS, BOXES, labels)
        return losses["classification_loss"] + losses["box_loss"], number

    (value, number), gradients = jax.value_and_grad(loss, (0, 1), has_aux=True)(
        jnp.ones((5, 3)), jnp.ones((5, 4))
    )
    assert value == number == 0
    assert all(jnp.all(gradient == 0) for gradient in gradients)


def test_detections_of_default_boxes():
    scores = jnp.array([[0.1, 0.8, 0.1], [0.3, 0.65, 0.05], [0.9, 0.09, 0.01], [0.2, 0.2, 0.6]])
    found = detections_of_default_boxes(
        jnp.log(scores), jnp.zeros((4, 4)), ANCHORS[:4], jnp.array([35, 65]),
        score_threshold=0.05, candidates=3, most=6,
    )  # fmt: skip
    # Of class 1 the second anchor overlaps the first one, and the third is the fourth best. Boxes
    # are cut off at the border.
    assert found["box_labels"].tolist() == [1, 2, 1, 2, -1, -1]
    assert_close(found["scores"], np.array([0.8, 0.6, 0.2, 0.1, 0, 0]), rtol=1e-5)
    expected = [[0, 0, 10, 10], [60, 0, 65, 10], [60, 0, 65, 10], [0, 0, 10, 10]]
    np.testing.assert_array_equal(found["boxes"][:4], expected)


def test_equal_scores_come_in_the_order_of_classes_and_anchors():
    found = detections_of_default_boxes(
        jnp.zeros((5, 3)), jnp.zeros((5, 4)), ANCHORS, jnp.array([99, 99]), most=8
    )
    assert found["box_labels"].tolist() == [1] * 4 + [2] * 4
    np.testing.assert_array_equal(found["boxes"][:4], ANCHORS[jnp.array([0, 2, 3, 4])])


def test_the_background_is_no_object():
    labels = jnp.array([-1, 0, 1, 2])
    assert with_background(labels, True).tolist() == [-1, -1, 1, 2]
    assert with_background(labels, False).tolist() == [-1, 1, 2, 3]
    assert without_background(with_background(labels, False), False).tolist() == labels.tolist()
    assert without_background(jnp.array([-1, 2]), True).tolist() == [-1, 2]


class Still(nn.Module):
    """A sure first object in the first anchor, seen in images of 20x20 pixels."""

    num_classes = 3
    image_size = (20, 20)

    @nn.compact
    def __call__(self, x, sizes=None, *, train):
        bias = self.param("bias", nn.initializers.zeros_init(), (1, 1, 3))
        logits = jnp.tile(jnp.array([[[0.0, 9, 2], [9, 0, 0]]]) + bias, (len(x), 1, 1))
        return {
            "logits": (logits,),
            "deltas": (jnp.zeros((len(x), 2, 4)),),
            "anchors": (ANCHORS[:1], ANCHORS[2:3]),
        }


@pytest.mark.parametrize("background", [True, False])
def test_boxes_are_in_pixels_of_their_images(background):
    task = MultiBoxDetection(Still(), background, most=2)
    first = int(background)
    batch = {
        "image": jnp.zeros((2, 40, 30, 3)),
        "boxes": jnp.array([[[0.0, 0, 15, 20]], [[0, 0, 5, 10]]]),
        "box_labels": jnp.full((2, 1), first),
        "size": jnp.array([[40, 30], [20, 10]]),
        "weight": jnp.ones(2),
    }
    state = task.init(jax.random.key(0), {"image": ShapeDtypeStruct((40, 30, 3), "u1")})
    loss, (_, sums) = task.loss_fn(*state, batch, jax.random.key(0), True)
    # Each of the two images has one anchor with its object, and its box fits. The positives count
    # twice, because there are too few negatives.
    assert sums["box_loss"] == 0 and sums["weight"] == 2
    assert_close(loss, 2 * (2 * entropy([0, 9, 2], 1) + entropy([9, 0, 0], 0)), rtol=1e-3)
    found = task.predict(*state, batch)
    assert found["box_labels"][:, 0].tolist() == [first] * 2
    np.testing.assert_array_equal(found["boxes"][:, 0], batch["boxes"][:, 0])


@pytest.mark.usefixtures("no_shape_hook")
def test_what_does_not_fit_is_named():
    class Dataset:
        spec: ClassVar = {"image": 0, "boxes": 0, "box_labels": 0}
        title, num_classes = "things", 3

    MultiBoxDetection(Still()).check(Dataset)
    with pytest.raises(ConfigError, match="has 3 outputs, and things needs 4, one of them for"):
        MultiBoxDetection(Still(), background=False).check(Dataset)
