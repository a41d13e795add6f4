import numpy as np
import pytest

from cnn_jax.visual import InstanceImage, instance_rows
from cnn_jax.visual.instances import numbered

IMAGE = np.full((6, 8, 3), 100, np.uint8)
MASKS = np.zeros((2, 6, 8), bool)
MASKS[0, :3, :4] = MASKS[1, 2:, 2:6] = True
NOTHING = np.zeros((0, 6, 8), bool)


def test_the_first_mask_is_on_top():
    numbers = numbered(MASKS)
    assert numbers[0].tolist() == [0, 0, 0, 0, -1, -1, -1, -1]
    assert numbers[2].tolist() == [0, 0, 0, 0, 1, 1, -1, -1]
    assert (numbered(NOTHING) == -1).all() and numbered(NOTHING).shape == (6, 8)


def test_each_image_has_three_cells():
    one = InstanceImage(IMAGE, MASKS, NOTHING, "0 of 2 found")
    figure = instance_rows([one, one, one], title="Nuclei, test")
    assert len(figure.axes) == 9
    image, truth, prediction = (axes.images[0].get_array() for axes in figure.axes[:3])
    assert np.array_equal(image, IMAGE) and np.array_equal(prediction, IMAGE)
    assert len({tuple(colour) for colour in truth[2].tolist()}) == 3
    assert np.array_equal(truth[0, 4], IMAGE[0, 4])
    assert len(figure.axes[1].collections) == 2 and not figure.axes[2].collections
    assert figure.axes[0].texts[0].get_text() == "0 of 2 found"
    with pytest.raises(ValueError, match="at least one image and column, got 0 and 2"):
        instance_rows([], title="")
