import numpy as np
import pytest

from cnn_jax.data.dataset import channel_statistics
from tests.data.conftest import noise
from tests.tolerance import assert_close


@pytest.mark.parametrize("channels", [1, 3])
def test_channel_statistics_are_numpys(channels):
    images = noise(1_100, (3, 4, channels))
    scaled = images.astype(np.float64) / 255
    mean, std = channel_statistics(images)
    assert_close(mean, tuple(scaled.mean(axis=(0, 1, 2))))
    assert_close(std, tuple(scaled.std(axis=(0, 1, 2))))


def test_bright_images_do_not_overflow():
    images = np.full((600, 2, 2, 1), 255, np.uint8)
    images[0, 0, 0] = 254
    mean, std = channel_statistics(images)
    scaled = images.astype(np.float64) / 255
    assert_close(mean, (scaled.mean(),))
    assert_close(std, (scaled.std(),), rtol=1e-6)


def test_a_constant_channel_can_be_divided_by():
    images = noise(10, (2, 2, 2))
    images[..., 1] = 100
    mean, std = channel_statistics(images)
    assert mean[1] == 100 / 255 and std[1] == 1
