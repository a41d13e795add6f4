"""Losses, detections and metrics of R-CNNs by hand; whole networks are in `tests/pretrained`."""

import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import ShapeDtypeStruct

from cnn_jax.errors import ConfigError
from cnn_jax.models import RCNN, ResNet
from cnn_jax.tasks import RegionDetection, paste_masks
from cnn_jax.tasks.metrics import sums_of_means
from cnn_jax.tasks.region_losses import proposal_losses, region_losses, sample_regions
from tests.tolerance import assert_close

ANCHORS = jnp.array([[0.0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 20, 22], [30, 30, 40, 40]])
BOXES = jnp.array([[0.0, 0, 10, 10], [5, 5, 5, 9], [0, 0, 0, 0]])


def test_regions_are_sampled_with_the_objects_own_boxes():
    proposals = jnp.array([[1.0, 0, 10, 10], [30, 30, 40, 40], [0, 0, 10, 10]])
    mask = jnp.array([True, True, False])
    key = jax.random.key(0)
    regions = sample_regions(key, proposals, mask, BOXES, jnp.array([2, 1, -1]), number=12)
    # Padding and boxes without area are no candidates.
    assert regions["label"].tolist() == [2, 2, 0, -1, -1, -1]
    assert sorted(regions["boxes"][:2, 0].tolist()) == [0, 1]
    assert regions["truth"][:2].tolist() == [0, 0]
    # One more positive than fits is left out.
    few = sample_regions(key, proposals, mask, BOXES, jnp.array([2, 1, -1]), number=4)
    assert few["label"].tolist() == [2, 0, -1, -1]


def test_losses_of_samples_by_hand():
    regions = {
        "boxes": jnp.array([[0.0, 0, 10, 10], [30, 30, 40, 40], [0, 0, 0, 0]]),
        "label": jnp.array([1, 0, -1]),
        "truth": jnp.array([0, 0, 0]),
    }
    deltas = jnp.zeros((3, 2, 4)).at[0, 1, 0].set(0.1).at[0, 1, 1].set(2)
    losses, counts = region_losses(jnp.zeros((3, 2)), deltas, regions, BOXES)
    np.testing.assert_allclose(losses["classification_loss"], 2 * np.log(2), rtol=1e-6)
    # Quadratic below 1 / 9, linear above.
    np.testing.assert_allclose(losses["box_loss"], 0.01 * 9 / 2 + 2 - 1 / 18, rtol=1e-6)
    assert counts == {"classification_loss": 2, "box_loss": 2}


def test_proposal_losses_without_objects():
    arguments = jnp.zeros(4), jnp.ones((4, 4)), ANCHORS, BOXES, jnp.full(3, -1)
    losses, counts = proposal_losses(jax.random.key(0), *arguments, number=3)
    np.testing.assert_allclose(losses["objectness_loss"], 3 * np.log(2), rtol=1e-6)
    assert losses["proposal_box_loss"] == 0 and counts["objectness_loss"] == 3


def test_means_are_over_the_samples_of_all_images():
    losses, counts = {"a": jnp.array([3.0, 5, 100])}, {"a": jnp.array([1, 3, 7])}
    sums = sums_of_means(jnp.array([1.0, 1, 0]), losses, counts)
    # Twice the mean of four samples; the image without weight does not count.
    assert_close(sums, {"a": 2 * 8 / 4, "weight": 2.0}, rtol=1e-6)
    parts = jax.pmap(lambda w, a, n: sums_of_means(w, {"a": a}, {"a": n}), "devices")(
        jnp.array([[1.0], [1], [0]]), losses["a"][:, None], counts["a"][:, None]
    )
    assert_close(jax.tree.map(jnp.sum, parts), sums, rtol=1e-6)


def test_a_mask_is_pasted_into_its_box():
    masks = jnp.stack([jnp.ones((28, 28)), jnp.zeros((28, 28)).at[:, :14].set(1)])
    boxes = jnp.array([[4.0, 6, 18, 20], [0, 0, 28, 28]])
    pasted = np.asarray(paste_masks(masks, boxes, (32, 40)) > 0.5)
    assert pasted[0, 7:19, 5:17].all() and not pasted[0, :5].any() and not pasted[0, :, 20:].any()
    assert pasted[1, 2:26, 2:12].all() and not pasted[1, :, 16:].any()


SMALL = ResNet("cifar", "basic", (1, 1, 1, 1), (4, 8, 8, 8), norm="frozen")


@pytest.mark.parametrize("background", [True, False])
def test_everything_has_a_fixed_shape(background):
    """Traced alone, with masks and sizes."""
    model = RCNN(SMALL, masks=True, num_classes=4, proposals=9, proposals_train=11)
    task = RegionDetection(model, background, anchors=8, regions=8, most=5)
    batch = {
        "image": jnp.zeros((2, 17, 31, 3)),
        "boxes": jnp.zeros((2, 3, 4)),
        "box_labels": jnp.zeros((2, 3), jnp.int32),
        "instances": jnp.zeros((2, 17, 31), jnp.int32),
        "size": jnp.zeros((2, 2), jnp.int32),
        "weight": jnp.ones(2),
    }

    def trace(key):
        params, state = task.init(key, {"image": ShapeDtypeStruct((17, 31, 3), "f4")})
        losses = [task.loss_fn(params, state, batch, key, train) for train in (True, False)]
        del batch["size"]
        return losses, task.predict(params, state, batch)

    ((loss, (_, sums)), evaluated), found = jax.eval_shape(trace, jax.random.key(0))
    assert loss.shape == () and sums.keys() == {"weight", *task.parts}
    assert evaluated[1][1].keys() == sums.keys()
    shapes = {name: leaf.shape for name, leaf in found.items()}
    assert shapes == {
        "boxes": (2, 5, 4), "scores": (2, 5), "box_labels": (2, 5), "masks": (2, 5, 28, 28)
    }  # fmt: skip


@pytest.mark.parametrize("labels", [[[1, -1, -1], [2, -1, -1]], [[1, 2, 3], [3, -1, -1]]])
def test_the_fewest_masks_that_suffice_have_the_loss_of_all(labels, monkeypatch):
    model = RCNN(SMALL, masks=True, num_classes=4, proposals_train=5, norm="frozen")
    task = RegionDetection(model, anchors=8, regions=32)
    rng = np.random.default_rng(0)
    corners, images = rng.uniform(0, 12, (2, 3, 2)), rng.standard_normal((2, 24, 24, 3))

    def losses(numbers):
        params, state = task.init(jax.random.key(0), {"image": ShapeDtypeStruct((24, 24, 3), "f8")})
        assert task._mask_regions(state) == numbers
        batch = {
            "image": jnp.asarray(images),
            "boxes": jnp.asarray(np.concatenate([corners, corners + 6], axis=-1)),
            "box_labels": jnp.asarray(labels),
            "instances": jnp.ones((2, 24, 24), jnp.int32),
            "weight": jnp.ones(2),
        }
        loss = functools.partial(
            task.loss_fn, model_state=state, batch=batch, key=jax.random.key(1), train=True
        )
        return jax.jit(jax.value_and_grad(loss, has_aux=True))(params)

    with jax.enable_x64(True):
        fewest = losses([2, 4, 8])
        monkeypatch.setattr(RegionDetection, "_mask_regions", lambda self, state: [8])
        assert_close(fewest, losses([8]))


def test_a_mask_head_with_batch_norm_computes_all_masks():
    """On all devices alike: it sums over them."""
    model = RCNN(SMALL, masks=True, version=2, num_classes=4)
    task = RegionDetection(model, anchors=8, regions=32)
    spec = {"image": ShapeDtypeStruct((24, 24, 3), "f4")}
    _, state = jax.eval_shape(lambda key: task.init(key, spec), jax.random.key(0))
    assert task._mask_regions(state) == [8]


def test_average_precision_of_boxes_and_masks():
    """The box is right. A mask of four tenths of the object is wrong, one of nine is right."""
    box = [2.0, 2, 12, 12]
    for share, expected in ((4, 0.0), (9, 1.0)):
        mask = np.zeros((28, 28), np.float32)
        mask[: 28 * share // 10] = 1
        instances = np.zeros((16, 20), np.uint8)
        instances[2:12, 2:12] = 1
        rows = {
            "found": {
                "boxes": np.array([[box, [0.0] * 4]]),
                "scores": np.array([[0.9, 0]]),
                "box_labels": np.array([[0, -1]]),
                "masks": np.stack([mask, np.ones_like(mask)])[None],
            },
            "truths": {
                "boxes": np.array([[box]]),
                "box_labels": np.array([[0]]),
                "instances": instances[None],
            },
        }
        task = RegionDetection(RCNN("resnet18", masks=True, num_classes=2), class_names=("cell",))
        scores = task.measure(rows)
        assert scores["AP50"] == scores["AP/cell"] == 1
        assert scores["mask_AP50"] == expected
        assert {*task.losses, *scores} == {*task.metrics}
        assert task.best_metric == "mask_AP"
    boxes = RegionDetection(RCNN("resnet18", num_classes=2))
    assert boxes.best_metric == "AP" and not any("mask" in name for name in boxes.metrics)


class Dataset:
    spec: ClassVar = {"image": ShapeDtypeStruct((8, 8, 3), "u1"), "boxes": 0, "box_labels": 0}
    title, num_classes = "things", 3


@pytest.mark.usefixtures("no_shape_hook")
def test_what_does_not_fit_is_named():
    task = RegionDetection(RCNN("resnet18", num_classes=3), background=False)
    with pytest.raises(ConfigError, match="needs 4, one of them for the background"):
        task.check(Dataset)
    with pytest.raises(ConfigError, match="masks need the entry 'instances'"):
        RegionDetection(RCNN("resnet18", masks=True, num_classes=3)).check(Dataset)
