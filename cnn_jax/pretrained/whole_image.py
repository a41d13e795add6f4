"""How a whole image is made the input of a network that gives boxes, which are carried back."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image as PillowImage

from cnn_jax.errors import LARGEST, ConfigError, check_range
from cnn_jax.pretrained.preprocessing import IMAGENET_MEAN, IMAGENET_STD

Image = UInt8[np.ndarray, "height width 3"]
Input = Float32[np.ndarray, "out_height out_width channels"]


class Placed(NamedTuple):
    """A network's input, and where the image is in it: at the upper left.

    Attributes:
        inputs: normalized.
        size: (height, width) of the resized image in pixels of the input.
    """

    inputs: Input
    size: tuple[int, int]


@dataclass(frozen=True)
class OnCanvas:
    """Resize an image so that it just fits on a canvas, lay it at the upper left, and normalize.

    As a data set of images with boxes is read: resizing is Pillow's, with antialiasing, and the
    rest of the canvas is black.

    Attributes:
        canvas: height and width of the result in pixels.
        mean: of each channel, in [0, 1]; subtracted. One channel is gray, three are RGB.
        std: of each channel, in [0, 1]; divided by.

    Raises:
        UserError: a canvas without pixels, a deviation that is not more than 0, or another number
            of deviations than of means.
    """

    canvas: tuple[int, int]
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        check_range(self, 1, canvas=self.canvas)
        _check_scale(self)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the result."""
        return *self.canvas, len(self.mean)

    def __call__(self, image: Image) -> Input:
        """The model's input for an RGB image."""
        return self.place(image).inputs

    def place(self, image: Image) -> Placed:
        """The model's input for an RGB image, and the size of the image in it.

        Raises:
            ConfigError: the network takes images of neither 1 nor 3 channels.
        """
        pixels = _with_channels(image, len(self.mean))
        scale = min(new / old for new, old in zip(self.canvas, image.shape[:2], strict=True))
        height, width = (max(1, round(scale * old)) for old in image.shape[:2])
        resized = PillowImage.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
        resized = resized.resize((width, height), PillowImage.Resampling.BILINEAR)
        laid = np.zeros(self.image_shape, np.uint8)
        laid[:height, :width] = np.asarray(resized).reshape(height, width, -1)
        return Placed(_normalized(laid, self.mean, self.std), (height, width))


@dataclass(frozen=True)
class BySides:
    """Normalize an image and resize it by its sides, for the public weights of detectors.

    As torchvision's `GeneralizedRCNNTransform`: bilinear without antialiasing, sides rounded down,
    and zeros at the bottom and right, up to a multiple of `multiple` pixels.

    Attributes:
        shorter: pixels of the shorter side; 0 keeps the image as large as it is.
        longer: the largest number of pixels of the longer side; the shorter side of an image of a
            long shape is smaller for it.
        multiple: of which the sides of the result are multiples.
        mean: of each channel, in [0, 1]; subtracted. One channel is gray, three are RGB.
        std: of each channel, in [0, 1]; divided by.

    Raises:
        UserError: sides without pixels, a deviation that is not more than 0, or another number of
            deviations than of means.
    """

    shorter: int = 800
    longer: int = 1333
    multiple: int = 32
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        check_range(self, 0, shorter=self.shorter)
        check_range(self, 1, longer=self.longer, multiple=self.multiple)
        _check_scale(self)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the result for a square image."""
        side = -(-max(1, min(self.shorter, self.longer)) // self.multiple) * self.multiple
        return side, side, len(self.mean)

    def __call__(self, image: Image) -> Input:
        """The model's input for an RGB image."""
        return self.place(image).inputs

    def place(self, image: Image) -> Placed:
        """The model's input for an RGB image, and the size of the image in it.

        Raises:
            ConfigError: the network takes images of neither 1 nor 3 channels.
        """
        pixels = _normalized(_with_channels(image, len(self.mean)), self.mean, self.std)
        height, width = size = self.size(image.shape[:2])
        for axis, side in enumerate(size):
            pixels = _interpolated(pixels, axis, side)
        missing = ((0, -height % self.multiple), (0, -width % self.multiple), (0, 0))
        return Placed(np.pad(pixels, missing), size)

    def size(self, size: tuple[int, ...]) -> tuple[int, int]:
        """Height and width of an image of that size after resizing."""
        scale = min(self.shorter / min(size), self.longer / max(size)) if self.shorter else 1.0
        height, width = (max(1, int(scale * side)) for side in size)
        return height, width


def _check_scale(one: OnCanvas | BySides) -> None:
    check_range(one, -LARGEST, mean=one.mean)
    check_range(one, 0, above=True, std=one.std)
    if len(one.mean) != len(one.std):
        raise ConfigError(
            f"expected a mean and a deviation for each channel, got {one.mean} and {one.std}"
        )


def _with_channels(image: Image, channels: int) -> UInt8[np.ndarray, "height width channels"]:
    if channels not in (1, 3):
        raise ConfigError(
            f"the network takes images of {channels} channels; an image file has one (gray) or "
            "three (RGB)"
        )
    if channels == 3:
        return image
    return np.asarray(PillowImage.fromarray(image).convert("L"))[..., None]


def _normalized(
    pixels: UInt8[np.ndarray, "height width channels"],
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Float32[np.ndarray, "height width channels"]:
    scaled = pixels.astype(np.float32) / np.float32(255)
    return (scaled - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)


def _interpolated(
    pixels: Float[np.ndarray, "height width channels"], axis: int, side: int
) -> Float[np.ndarray, "_ _ channels"]:
    """The pixels along one axis at `side` places, each between the two that are nearest."""
    old = pixels.shape[axis]
    places = ((np.arange(side) + 0.5) * (old / side) - 0.5).clip(0, old - 1)
    first = places.astype(int)
    shares = (places - first).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
    low, high = (np.take(pixels, at, axis) for at in (first, np.minimum(first + 1, old - 1)))
    return low + shares * (high - low)
