"""The preprocessing that public weights expect: size, crop and scale of an image."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image as PillowImage

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of ImageNet's training images in [0, 1], red, green and blue."""

Image = UInt8[np.ndarray, "height width 3"]

_FILTERS = {
    "bilinear": PillowImage.Resampling.BILINEAR,
    "bicubic": PillowImage.Resampling.BICUBIC,
}


@dataclass(frozen=True)
class Preprocessing:
    """Resize the shorter side, crop the centre and normalize.

    Equal to torchvision's `transforms.ImageClassification` of a Pillow image: resizing is Pillow's,
    with antialiasing, the longer side is rounded down, the corner of the crop is rounded half to
    even, and an image that is smaller than the crop is padded with black.

    Attributes:
        resize: pixels of the shorter side.
        crop: height and width of the result, in pixels.
        mean: of each channel, in [0, 1]; subtracted.
        std: of each channel, in [0, 1]; divided by.
        interpolation: "bilinear" or "bicubic", antialiased.
    """

    resize: int = 256
    crop: int = 224
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"

    def __call__(self, image: Image) -> Float32[np.ndarray, "{self.crop} {self.crop} 3"]:
        """The model's input for an RGB image."""
        pixels = self.resize_and_crop(image).astype(np.float32) / np.float32(255)
        return (pixels - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)

    def resize_and_crop(self, image: Image) -> UInt8[np.ndarray, "{self.crop} {self.crop} 3"]:
        """The part of an RGB image that the model sees, before normalization."""
        height, width = image.shape[:2]
        shorter = min(height, width)
        size = int(self.resize * width / shorter), int(self.resize * height / shorter)
        resized = PillowImage.fromarray(image).resize(size, _FILTERS[self.interpolation])
        return _centre(np.asarray(resized), self.crop)


def _centre(image: Image, crop: int) -> UInt8[np.ndarray, "{crop} {crop} 3"]:
    missing = [max(0, crop - size) for size in image.shape[:2]]
    if any(missing):
        image = np.pad(image, [*((gap // 2, (gap + 1) // 2) for gap in missing), (0, 0)])
    # Python rounds half to even, as torchvision does.
    top, left = (round((size - crop) / 2) for size in image.shape[:2])
    return image[top : top + crop, left : left + crop]
