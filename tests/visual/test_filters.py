import numpy as np
import pytest

from cnn_jax.visual import first_layer_filters


def mosaic(kernel):
    figure = first_layer_filters(kernel, title="conv1")
    assert figure.get_suptitle() == "conv1"
    return np.asarray(figure.axes[0].get_images()[0].get_array())


def test_each_filter_is_scaled_by_itself_with_zero_as_middle_gray():
    kernel = np.zeros((2, 2, 3, 6), np.float32)
    kernel[0, 0, 0, 0] = 5.0
    kernel[1, 1, 2, 1] = -0.01
    shown = mosaic(kernel)  # 2 rows of 3, a coloured line between tiles
    assert shown.shape == (5, 8, 3)
    np.testing.assert_array_equal(shown[0, 0], [1, 0.5, 0.5])
    np.testing.assert_array_equal(shown[1, 4], [0.5, 0.5, 0])
    line = shown[0, 2]
    assert len(set(line)) > 1  # no gray, which a filter could have
    np.testing.assert_array_equal(shown[:, 2], np.broadcast_to(line, (5, 3)))
    np.testing.assert_array_equal(shown[3:, 6:], np.full((2, 2, 3), 0.5))


def test_other_input_channels_stand_side_by_side_in_gray():
    kernel = np.array([[[[1.0], [-1.0]]]], np.float32)
    np.testing.assert_array_equal(mosaic(kernel), [[[1, 1, 1], [0, 0, 0]]])


@pytest.mark.parametrize(("filters", "shape"), [(64, (8, 8)), (96, (8, 12)), (7, (2, 4))])
def test_filters_fill_a_rectangle(filters, shape):
    height, width, _ = mosaic(np.ones((3, 3, 3, filters))).shape
    assert ((height + 1) // 4, (width + 1) // 4) == shape


def test_a_wrong_kernel_is_named(no_shape_hook):
    for shape in [(3, 3, 3), (3, 3, 0, 4)]:
        with pytest.raises(ValueError, match=r"out channels\], got \(3, 3"):
            first_layer_filters(np.zeros(shape), title="")
