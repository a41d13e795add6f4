from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.layers import non_maximum_suppression, soft_non_maximum_suppression
from tests.layers.detection import drawn_boxes, onnx_cases, torchvision  # noqa: F401 (a fixture)

BOXES = jnp.array([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 5], [20, 20, 30, 30]])
SCORES = jnp.array([0.8, 0.9, 0.7, 0.1])


suppress = jax.jit(non_maximum_suppression, static_argnames=("threshold", "most"))


def remaining(boxes, scores, threshold, **options):
    indices, mask = suppress(boxes, scores, threshold=threshold, **options)
    return indices[mask].tolist()


def test_suppression_by_hand():
    assert remaining(BOXES, SCORES, 0.52) == [1, 3]
    # The IoU of boxes 0 and 2 is 0.5, which is not more than the threshold.
    assert remaining(BOXES[jnp.array([0, 2])], SCORES[:2], 0.5) == [1, 0]
    # A box that is suppressed itself suppresses none: box 2 overlaps box 0 alone enough.
    chain = jnp.array([[0.0, 0, 10, 10], [0, 4, 10, 14], [0, 8, 10, 18]])
    assert remaining(chain, jnp.array([3.0, 2, 1]), 0.4) == [0, 2]
    assert remaining(BOXES, SCORES, 0.52, classes=jnp.array([0, 1, 0, 0])) == [1, 0, 2, 3]
    assert remaining(BOXES, SCORES, 0.4, mask=jnp.array([True, False, True, False])) == [0]
    assert remaining(BOXES, SCORES, 0.52, most=1) == [1]
    assert remaining(BOXES[:0], SCORES[:0], 0.5) == []
    # Of equal scores the first remains; boxes without area do not suppress each other.
    assert remaining(jnp.tile(BOXES[:1], (3, 1)), jnp.ones(3), 0.5) == [0]
    assert remaining(jnp.zeros((3, 4)), jnp.ones(3), 0.5) == [0, 1, 2]


def test_the_best_few_of_many():
    """They are taken one after another, and are the first of all that remain."""
    rng = np.random.default_rng(2)
    boxes, scores = jnp.asarray(drawn_boxes(rng, 80)), jnp.asarray(rng.random(80).round(1))
    options = {"classes": jnp.arange(80) % 2, "mask": jnp.arange(80) % 9 > 0}
    every = remaining(boxes, scores, 0.3, **options)
    assert len(every) > 10 and remaining(boxes, scores, 0.3, most=10, **options) == every[:10]
    _, kept = suppress(boxes, scores, threshold=0.3, mask=jnp.arange(80) < 2, most=10)
    assert kept.sum() == len(remaining(boxes[:2], scores[:2], 0.3)) and not kept[-1]


def test_padding_is_last_whatever_the_scores_are():
    scores, mask = jnp.array([-jnp.inf, 5.0, -jnp.inf, -jnp.inf]), jnp.array([0, 0, 1, 1], bool)
    indices, kept = non_maximum_suppression(BOXES, scores, 0.9, mask=mask)
    assert indices.tolist() == [2, 3, 1, 0] and kept.tolist() == [True, True, False, False]


@pytest.mark.parametrize("classes", [False, True])
def test_equals_torchvision(torchvision, classes):  # noqa: F811
    import torch
    from torchvision.ops import batched_nms, nms

    rng, most = np.random.default_rng(0), 40
    batch = jax.jit(jax.vmap(partial(non_maximum_suppression, threshold=0.3)))
    boxes = np.stack([drawn_boxes(rng, most) for _ in range(250)])
    # Scores of one digit have ties.
    scores, numbers = rng.random((250, most)).round(1), rng.integers(most + 1, size=250)
    scores[::2] = rng.random((125, most))
    labels = rng.integers(3, size=(250, most))
    mask = np.arange(most) < numbers[:, None]
    with jax.enable_x64(True):
        options = {"classes": labels} if classes else {}
        indices, kept = map(np.asarray, batch(boxes, scores, mask=mask, **options))
    for case, number in enumerate(numbers):
        one = torch.tensor(boxes[case, :number]), torch.tensor(scores[case, :number])
        # Unlike torch.sort, ours is stable; a score a little lower stands for a later place.
        one = one[0], one[1] - 1e-9 * torch.arange(number)
        expected = nms(*one, 0.3)
        if classes:
            expected = batched_nms(*one, torch.tensor(labels[case, :number]), 0.3)
        np.testing.assert_array_equal(indices[case][kept[case]], expected.numpy())


def test_soft_suppression_by_hand():
    # Box 1 is first. Its IoU with box 0 is 0.9, with box 2 it is 5/9, that of boxes 0 and 2 is 0.5.
    linear = soft_non_maximum_suppression(BOXES, SCORES, method="linear")
    np.testing.assert_allclose(linear, [0.8 * 0.1 * 0.5, 0.9, 0.7 * 4 / 9, 0.1], rtol=1e-5)
    gaussian = soft_non_maximum_suppression(BOXES, SCORES)
    box2 = 0.7 * np.exp(-((5 / 9) ** 2) / 0.5)
    box0 = 0.8 * np.exp(-(0.9**2) / 0.5) * np.exp(-(0.5**2) / 0.5)
    np.testing.assert_allclose(gaussian, [box0, 0.9, box2, 0.1], rtol=1e-5)
    classes, mask = jnp.array([0, 1, 1, 0]), jnp.array([True, True, True, False])
    soft = soft_non_maximum_suppression(BOXES, SCORES, classes=classes, mask=mask)
    np.testing.assert_allclose(soft, [0.8, 0.9, box2, 0], rtol=1e-5)


# ONNX's boxes may have their corners in another order, which is not ours.
ONNX_CASES = (
    "suppress_by_IOU", "suppress_by_IOU_and_scores", "limit_output_size", "single_box",
    "identical_boxes", "two_classes", "two_batches", "iou_threshold_boundary",
)  # fmt: skip


@pytest.mark.full
def test_equals_onnx():
    cases = onnx_cases()
    for name in ONNX_CASES:
        ((inputs, (expected,)),) = cases[f"test_nonmaxsuppression_{name}"].data_sets
        boxes, scores, most, threshold, lowest = inputs
        rows = []
        for image, of_image in enumerate(scores):
            for label, of_class in enumerate(of_image):
                kept = remaining(
                    jnp.asarray(boxes[image]), jnp.asarray(of_class), float(threshold[0]),
                    mask=jnp.asarray(of_class > lowest[0]), most=int(most[0]),
                )  # fmt: skip
                rows += [[image, label, box] for box in kept]
        assert rows == expected.tolist(), name
