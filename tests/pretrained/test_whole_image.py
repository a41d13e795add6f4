"""A whole image as the input of a network that gives boxes."""

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data.object_examples import ObjectExamples
from cnn_jax.data.objects import Annotated, Objects
from cnn_jax.data.tfds_writer import encode_png
from cnn_jax.errors import UserError
from cnn_jax.pretrained import BySides, OnCanvas
from tests.layers.detection import torchvision  # noqa: F401 (a fixture)
from tests.tolerance import assert_close


def drawn(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("size", [(20, 50), (60, 12), (1, 1), (24, 32), (9, 90)])
def test_on_the_canvas_as_a_data_set_lies_there(size):
    image, canvas = drawn(*size), (24, 32)
    preprocessing = OnCanvas(canvas, (0.2, 0.3, 0.4), (0.5, 0.6, 0.7))
    inputs, inside = preprocessing.place(image)
    scale = min(24 / size[0], 32 / size[1])
    assert inside == tuple(max(1, round(scale * side)) for side in size)
    assert inputs.shape == preprocessing.image_shape == (24, 32, 3)

    objects = Objects(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, bool), [])
    annotated = Annotated("image", lambda: encode_png(image), size, objects)
    stored = ObjectExamples([annotated], (*canvas, 3), max(inside), 1, False, False, "boxes")
    example = stored[0]
    assert example["size"].tolist() == list(inside)
    assert_close(inputs, (example["image"] / 255 - (0.2, 0.3, 0.4)) / (0.5, 0.6, 0.7), rtol=1e-5)


def test_gray_networks_get_gray_images():
    image = drawn(10, 20)
    inputs, _ = OnCanvas((10, 20), (0.5,), (0.25,)).place(image)
    expected = np.asarray(Image.fromarray(image).convert("L"))[..., None]
    assert_close(inputs, (expected / 255 - 0.5) / 0.25, rtol=1e-5)
    with pytest.raises(UserError, match="takes images of 4 channels"):
        OnCanvas((10, 20), (0.5,) * 4, (0.25,) * 4)(image)


@pytest.mark.parametrize("size", [(40, 50), (90, 30), (33, 300), (200, 201), (1, 1)])
def test_by_sides_as_torchvision(torchvision, size):  # noqa: F811
    import torch
    from torchvision.models.detection.transform import GeneralizedRCNNTransform

    image, mine = drawn(*size), BySides(64, 100, mean=(0.1, 0.2, 0.3), std=(1, 2, 3))
    theirs = GeneralizedRCNNTransform(64, 100, [0.1, 0.2, 0.3], [1.0, 2.0, 3.0])
    expected, _ = theirs([torch.tensor(image.transpose(2, 0, 1) / np.float32(255))])
    inputs, inside = mine.place(image)
    assert [inside] == expected.image_sizes
    assert_close(inputs, expected.tensors[0].numpy().transpose(1, 2, 0), rtol=1e-4)


def test_sides_by_hand():
    assert BySides().size((400, 600)) == (800, 1200)
    assert BySides().size((480, 1920)) == (333, 1333)
    assert BySides(0).size((48, 2000)) == (48, 2000)
    assert BySides().image_shape == (800, 800, 3) and BySides(300).image_shape == (320, 320, 3)


@pytest.mark.parametrize("kind", [OnCanvas((8, 8)), BySides()])
def test_values_that_make_no_sense(kind):
    with pytest.raises(UserError, match="a mean and a deviation for each channel"):
        type(kind)(**(vars(kind) | {"std": (1.0,)}))
    with pytest.raises(UserError, match="std must be more than 0"):
        type(kind)(**(vars(kind) | {"std": (1.0, 0.0, 1.0)}))
