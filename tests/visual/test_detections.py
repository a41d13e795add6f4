import numpy as np
import pytest

from cnn_jax.visual import drawn_objects, picture_sheet
from cnn_jax.visual.detections import LEAST_SIDE, _common_area, _free_place

RED, BLUE = [255, 0, 0], [0, 0, 255]


def test_boxes_masks_and_the_size_of_the_picture():
    image = np.full((200, 700, 3), 100, np.uint8)
    masks = np.zeros((2, 200, 700), bool)
    masks[0, 150:, 300:] = True
    colours = np.array([RED, BLUE], np.uint8)
    boxes = np.array([[100.0, 50, 200, 150], [300, 50, 400, 150]])
    picture = drawn_objects(image, boxes, ["cat 0.90", ""], colours, masks, opacity=0.5)
    assert picture.shape == image.shape
    assert picture[100, 100].tolist() == picture[149, 150].tolist() == RED
    assert picture[100, 99].tolist() == [255] * 3  # the white border
    assert picture[100, 399].tolist() == BLUE
    assert picture[100, 150].tolist() == [100] * 3  # within a box
    assert picture[180, 600].tolist() == [178, 50, 50]
    # The first has a name above it, the second none.
    assert picture[45, 101].tolist() == RED and picture[45, 301].tolist() == [100] * 3


def test_small_images_are_enlarged_with_their_boxes():
    image = np.zeros((10, 20, 1), np.uint8)
    picture = drawn_objects(image, np.array([[5.0, 0, 15, 10]]), [""], np.array([RED], np.uint8))
    assert picture.shape == (LEAST_SIDE // 2, LEAST_SIDE, 3)
    assert picture[100, LEAST_SIDE // 4].tolist() == RED and not picture[100, 320].any()
    one = drawn_objects(image[:1, :1], np.zeros((0, 4)), [], np.zeros((0, 3), np.uint8))
    assert one.shape == (LEAST_SIDE, LEAST_SIDE, 3)


def test_names_keep_clear_of_each_other_and_within_the_picture():
    taken = []
    for _ in range(6):
        taken.append(_free_place([0.0, 0, 30, 30], (40, 10), (100, 100), taken))
    assert taken[0] == (0, 0, 40, 10)  # there is no room above
    for i, one in enumerate(taken):
        assert min(one) >= 0 and max(one) < 100
        assert all(_common_area(one, other) == 0 for other in taken[:i]) or i > 3


def test_a_sheet_of_pictures_of_any_shape():
    pictures = [np.zeros(shape, np.uint8) for shape in ((10, 40, 3), (40, 10, 3), (5, 5, 3))]
    figure = picture_sheet(pictures, ["wide", "high", "square"], title="")
    shapes = [axes.get_position().bounds[2:] for axes in figure.axes]
    width, height = figure.get_size_inches()
    sides = [(across * width, down * height) for across, down in shapes]
    assert sides == pytest.approx(np.array([(3.2, 0.8), (0.8, 3.2), (3.2, 3.2)]))
    with pytest.raises(ValueError, match="expected pictures and columns, got 0 and 2"):
        picture_sheet([], [], title="")
