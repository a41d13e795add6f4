import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from cnn_jax.layers import (
    box_areas,
    box_giou,
    box_iou,
    clip_boxes,
    decode_boxes,
    encode_boxes,
    pairwise_giou,
    pairwise_iou,
    resize_boxes,
)
from tests.layers.detection import drawn_boxes, torchvision  # noqa: F401 (a fixture)
from tests.tolerance import assert_close

A = jnp.array([[0.0, 0, 4, 2], [1, 1, 3, 5], [2, 2, 2, 2]])
B = jnp.array([[2.0, 1, 6, 3], [10, 10, 11, 12], [2, 2, 2, 2]])


def test_areas_and_overlaps():
    np.testing.assert_array_equal(box_areas(A), [8, 8, 0])
    np.testing.assert_allclose(box_iou(A, B), [2 / 14, 0, 0])
    np.testing.assert_allclose(
        pairwise_iou(A, B), [[2 / 14, 0, 0], [2 / 14, 0, 0], [0, 0, 0]], rtol=1e-6
    )
    # Around the first pair lie 6 x 3 pixels, around the second 10 x 11.
    around = [2 / 14 - (18 - 14) / 18, -(110 - 10) / 110, 0]
    np.testing.assert_allclose(box_giou(A, B), around, rtol=1e-6)
    assert pairwise_giou(A[None], B[None]).shape == (1, 3, 3)
    assert box_areas(A.astype(jnp.int32)).dtype == box_areas(A.astype(jnp.bfloat16)).dtype == "f4"


def test_boxes_are_resized_with_their_image():
    resized = resize_boxes(A, jnp.array([5, 4]), jnp.array([15, 2]))
    np.testing.assert_array_equal(resized, [[0, 0, 2, 6], [0.5, 3, 1.5, 15], [1, 6, 1, 6]])


def test_coding_by_hand():
    anchor, box = jnp.array([0.0, 0, 10, 20]), jnp.array([5.0, 5, 25, 15])
    deltas = encode_boxes(box, anchor, (10, 10, 5, 5))
    np.testing.assert_allclose(deltas, [10, 0, 5 * np.log(2), 5 * np.log(0.5)], rtol=1e-6)
    np.testing.assert_allclose(decode_boxes(deltas, anchor, (10, 10, 5, 5)), box, rtol=1e-6)
    # A scale is at most 1000 / 16.
    huge = decode_boxes(jnp.array([0.0, 0, 100, 0]), anchor)
    np.testing.assert_allclose(huge[2] - huge[0], 625, rtol=1e-6)


def test_clipping_takes_a_size_for_each_image():
    boxes = jnp.array([[[-3.0, 5, 50, 60]], [[-3.0, 5, 50, 60]]])
    clipped = clip_boxes(boxes, jnp.array([[[20, 30]], [[80, 40]]]))
    np.testing.assert_array_equal(clipped, [[[0, 5, 30, 20]], [[0, 5, 40, 60]]])


def test_gradients():
    with jax.enable_x64(True):
        boxes = jnp.asarray(drawn_boxes(np.random.default_rng(0), 8)) + 0.1
        a, b = boxes[:4], boxes[4:]
        for function in (box_iou, box_giou, encode_boxes, decode_boxes):
            check_grads(function, (a / 10, b / 10), order=1, modes=["rev"], atol=1e-5, rtol=1e-5)
    for function in (box_iou, box_giou):
        # Boxes without area, such as padding, have no NaN in their gradient.
        gradient = jax.grad(lambda a, function=function: function(a, B).sum())(jnp.zeros((3, 4)))
        assert jnp.all(jnp.isfinite(gradient))


def test_equals_torchvision(torchvision):  # noqa: F811
    import torch
    from torchvision.models.detection._utils import BoxCoder
    from torchvision.ops import boxes as reference

    rng, weights = np.random.default_rng(1), (10.0, 10.0, 5.0, 5.0)
    a, b, deltas = drawn_boxes(rng, 30), drawn_boxes(rng, 30), rng.normal(size=(30, 4)) * 3
    proper = np.stack([box_areas(a) > 0, box_areas(b) > 0])
    a, b, deltas = (array[proper.all(0)] for array in (a, b, deltas))
    ta, tb, td = map(torch.tensor, (a, b, deltas))
    coder = BoxCoder(weights)
    with jax.enable_x64(True):
        assert_close(pairwise_iou(a, b), reference.box_iou(ta, tb).numpy())
        assert_close(pairwise_giou(a, b), reference.generalized_box_iou(ta, tb).numpy())
        assert_close(encode_boxes(a, b, weights), coder.encode_single(ta, tb).numpy())
        assert_close(decode_boxes(deltas, b, weights), coder.decode_single(td, tb).numpy())
        assert_close(
            clip_boxes(jnp.asarray(a), jnp.array([30, 40])),
            reference.clip_boxes_to_image(ta, (30, 40)).numpy(),
        )


@pytest.mark.usefixtures("no_shape_hook")
def test_what_is_no_box_is_named():
    with pytest.raises(ValueError, match=r"boxes must have the axes \[batch…, 4\], got shape \(3,"):
        box_areas(jnp.ones((3, 5)))
