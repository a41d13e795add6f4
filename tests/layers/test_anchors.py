import jax
import numpy as np

from cnn_jax.layers import default_boxes, grid_anchors
from tests.layers.detection import torchvision  # noqa: F401 (a fixture)
from tests.tolerance import assert_close

SIZES, RATIOS = ((32, 40, 50), (64, 80, 101)), (0.5, 1.0, 2.0)


def test_anchors_by_hand():
    # An anchor of 16 pixels with the ratio 4 is 32 high and 8 wide.
    anchors = grid_anchors((64, 96), (2, 3), (16,), (1, 4))
    assert anchors.shape == (12, 4) and anchors.dtype == np.float32
    np.testing.assert_array_equal(anchors[:2], [[-8, -8, 8, 8], [-4, -16, 4, 16]])
    np.testing.assert_array_equal(anchors[2:4] - anchors[:2], [[32, 0, 32, 0]] * 2)
    np.testing.assert_array_equal(anchors[6:8] - anchors[:2], [[0, 32, 0, 32]] * 2)


def test_equal_torchvisions(torchvision):  # noqa: F811
    import torch
    from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
    from torchvision.models.detection.image_list import ImageList

    image, maps = (100, 131), ((13, 17), (7, 9))
    images = ImageList(torch.zeros(1, 3, *image), [image])
    features = [torch.zeros(1, 1, *size) for size in maps]
    (expected,) = AnchorGenerator(SIZES, (RATIOS,) * 2)(images, features)
    actual = [grid_anchors(image, size, s, RATIOS) for size, s in zip(maps, SIZES, strict=True)]
    np.testing.assert_array_equal(np.concatenate(actual), expected.numpy())

    ratios, scales = [[2], [2, 3]], [0.07, 0.15, 1.05]
    features = [feature.double() for feature in features]
    for steps in (None, [8, 16]):
        (expected,) = DefaultBoxGenerator(ratios, scales=scales, steps=steps)(images, features)
        actual = [
            default_boxes(image, maps[k], *scales[k : k + 2], ratios[k], steps and steps[k])
            for k in range(2)
        ]
        assert_close(np.concatenate(actual), expected.numpy())
    assert jax.numpy.asarray(actual[0]).shape == (13 * 17 * 4, 4)
