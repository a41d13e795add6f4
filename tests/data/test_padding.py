import numpy as np
import pytest

from cnn_jax.data import IGNORED, DataError, on_canvas, pad_boxes

BOXES = np.array([[1, 2, 3, 4], [0, 0, 5, 6]], np.float64)


def test_boxes_are_padded_with_zeros_and_labels_with_no_class():
    boxes, labels = pad_boxes(BOXES, np.array([7, 0]), 4)
    assert boxes.dtype == np.float32 and labels.dtype == np.int32
    assert boxes.tolist() == [[1, 2, 3, 4], [0, 0, 5, 6], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert labels.tolist() == [7, 0, -1, -1]
    boxes, labels = pad_boxes(np.zeros((0, 4)), np.zeros(0, np.int64), 2)
    assert boxes.shape == (2, 4) and labels.tolist() == [-1, -1]


def test_too_many_boxes_are_refused():
    with pytest.raises(DataError, match="has 2 boxes, and 1 fit: pad to 2 or more"):
        pad_boxes(BOXES, np.array([7, 0]), 1)


def test_an_image_lies_on_a_canvas_with_its_own_size():
    example = {
        "image": np.full((3, 2, 3), 9, np.uint8),
        "mask": np.ones((3, 2), np.uint8),
        "instances": np.ones((3, 2), np.int32),
        "pixel_weight": np.ones((3, 2), np.float32),
        "boxes": BOXES,
    }
    laid = on_canvas(example, (4, 5))
    assert laid["image"].shape == (4, 5, 3) and laid["image"].sum() == 9 * example["image"].size
    assert np.array_equal(laid["image"][:3, :2], example["image"])
    assert laid["mask"][3, 0] == laid["mask"][0, 2] == IGNORED and laid["mask"][2, 1] == 1
    assert laid["instances"][3, 4] == 0 and laid["instances"].sum() == 6
    assert laid["pixel_weight"][3, 4] == 0 and laid["pixel_weight"].sum() == 6
    assert laid["boxes"] is BOXES
    assert laid["size"].tolist() == [3, 2] and laid["size"].dtype == np.int32
    assert {name: laid[name].dtype for name in example} == {
        name: value.dtype for name, value in example.items()
    }


@pytest.mark.parametrize("size", [(2, 5), (4, 1)])
def test_an_image_larger_than_the_canvas_is_refused(size):
    with pytest.raises(DataError, match=f"3x2 pixels does not fit on a canvas of {size[0]}x"):
        on_canvas({"image": np.zeros((3, 2, 3), np.uint8)}, size)
