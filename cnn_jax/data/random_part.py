"""Random resized crops on the host, of images of different sizes."""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
from PIL import Image as PillowImage

from cnn_jax.data.augment import RandomResizedCrop
from cnn_jax.data.augment.spatial import TRIES
from cnn_jax.data.examples import Crop


def random_part(crop: RandomResizedCrop, seed: Sequence[int]) -> Crop:
    """A crop to a random part of a whole image, resized (bilinear, antialiased) to `crop.size`.

    The distribution is that of `RandomResizedCrop`, which is applied to a batch of images of one
    size; the random numbers are different. The part is cut before it is resized, as in
    torchvision, so that pixels outside of it have no influence.

    Args:
        crop: `crop.size` must be set.
        seed: numbers that identify the example and the step.
    """
    return partial(_cut, crop, seed)


def _cut(
    crop: RandomResizedCrop, seed: Sequence[int], image: PillowImage.Image
) -> PillowImage.Image:
    assert crop.size is not None
    top, left, height, width = part(crop, seed, image.height, image.width)
    cut = image.crop((left, top, left + width, top + height))
    return cut.resize(crop.size[::-1], PillowImage.Resampling.BILINEAR)


def part(
    crop: RandomResizedCrop, seed: Sequence[int], height: int, width: int
) -> tuple[int, int, int, int]:
    """Top, left, height and width of the part, in pixels."""
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
    low, high = np.log(crop.ratio)
    for _ in range(TRIES):
        area = height * width * generator.uniform(*crop.scale)
        ratio = math.exp(generator.uniform(low, high))
        part_width, part_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < part_width <= width and 0 < part_height <= height:
            top = int(generator.integers(0, height - part_height, endpoint=True))
            left = int(generator.integers(0, width - part_width, endpoint=True))
            return top, left, part_height, part_width
    return crop.middle(height, width)
