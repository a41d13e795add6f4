"""How an image is made a network's input: its size, its crop and its scale."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image as PillowImage

from cnn_jax.errors import LARGEST, ConfigError, check_range

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of ImageNet's training images in [0, 1], red, green and blue."""

Image = UInt8[np.ndarray, "height width 3"]
Pixels = UInt8[np.ndarray, "out_height out_width channels"]

_FILTERS = {
    "bilinear": PillowImage.Resampling.BILINEAR,
    "bicubic": PillowImage.Resampling.BICUBIC,
}


@dataclass(frozen=True)
class Preprocessing:
    """Resize the shorter side, crop the center and normalize.

    Equal to torchvision's `transforms.ImageClassification` of a Pillow image, and without a crop to
    its `transforms.SemanticSegmentation`: resizing is Pillow's, with antialiasing, the longer side
    is rounded down, the corner of the crop is rounded half to even, and an image that is smaller
    than the crop is padded with black.

    Attributes:
        resize: pixels of the shorter side; 0 is as few as fill the crop, or no change without it.
        crop: height and width of the result in pixels, or one number for both; 0 keeps the whole
            image.
        mean: of each channel, in [0, 1]; subtracted. One channel is gray, three are RGB.
        std: of each channel, in [0, 1]; divided by.
        interpolation: "bilinear" or "bicubic", antialiased.

    Raises:
        UserError: a crop below 0 or with a side of 0, a deviation that is not more than 0, or
            another number of deviations than of means.
    """

    resize: int = 256
    crop: int | tuple[int, int] = 224
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"

    def __post_init__(self) -> None:
        check_range(self, 0, resize=self.resize)
        check_range(self, 1, crop=self.crop or None)
        check_range(self, -LARGEST, mean=self.mean)
        check_range(self, 0, above=True, std=self.std)
        if len(self.mean) != len(self.std):
            raise ConfigError(
                f"expected a mean and a deviation for each channel, got {self.mean} and {self.std}"
            )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the result; without a crop those of a square image."""
        crop = self.crop or self.resize
        height, width = (crop, crop) if isinstance(crop, int) else crop
        return height, width, len(self.mean)

    def __call__(self, image: Image) -> Float32[np.ndarray, "out_height out_width channels"]:
        """The model's input for an RGB image; raises ConfigError unless it has 1 or 3 channels."""
        pixels = self.resize_and_crop(image).astype(np.float32) / np.float32(255)
        return (pixels - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)

    def resize_and_crop(self, image: Image) -> Pixels:
        """The model's view of an RGB image, before it is normalized."""
        height, width, channels = self.image_shape
        if channels not in (1, 3):
            raise ConfigError(
                f"the network takes images of {channels} channels; an image file has one (gray) or "
                "three (RGB)"
            )
        picture = PillowImage.fromarray(image).convert("L" if channels == 1 else "RGB")
        if self.resize:
            new, old = self.resize, min(picture.size)
        elif not self.crop:
            new = old = 1
        else:
            # The side that has to grow more, or may shrink less, decides.
            sides = ((width, picture.width), (height, picture.height))
            new, old = max(sides, key=lambda side: side[0] / side[1])
        size = int(new * picture.width / old), int(new * picture.height / old)
        pixels = np.asarray(picture.resize(size, _FILTERS[self.interpolation]))
        pixels = pixels.reshape(*pixels.shape[:2], channels)
        return _center(pixels, height, width) if self.crop else pixels


def _center(pixels: UInt8[np.ndarray, "height width channels"], height: int, width: int) -> Pixels:
    missing = [max(0, height - pixels.shape[0]), max(0, width - pixels.shape[1])]
    if any(missing):
        pixels = np.pad(pixels, [*((gap // 2, (gap + 1) // 2) for gap in missing), (0, 0)])
    # Python rounds halves to even, and so does torchvision.
    top, left = round((pixels.shape[0] - height) / 2), round((pixels.shape[1] - width) / 2)
    return pixels[top : top + height, left : left + width]
