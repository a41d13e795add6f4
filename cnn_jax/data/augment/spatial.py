"""Random crops, flips, rotations, translations, scales and deformations.

Image, mask, boxes, instances and pixel weights move together. Use the lower-case names in an
experiment.
"""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray

from cnn_jax.data.augment import geometry
from cnn_jax.data.augment.example import Example

TRIES = 10


@dataclass(frozen=True)
class RandomCrop:
    """Pads with `padding` pixels on every side and crops the original size at a random place.

    Source: He et al. 2015, section 4.2, with 4 zeros. "reflect" (airbench) mirrors the border.

    Raises:
        ValueError: `padding` is negative, `mode` is unknown.
    """

    padding: int = 4
    mode: Literal["zeros", "reflect"] = "zeros"

    def __post_init__(self) -> None:
        if self.padding < 0:
            raise ValueError(f"random_crop: padding={self.padding}, expected 0 or more pixels")
        if self.mode not in ("zeros", "reflect"):
            raise ValueError(f"random_crop: mode={self.mode!r}, expected 'zeros' or 'reflect'")

    def __call__(self, key: PRNGKeyArray, example: Example) -> Example:
        if self.padding == 0:
            return example
        height, width, _ = example["image"].shape
        padded = geometry.pad(example, self.padding, self.mode)
        top, left = jax.random.randint(key, (2,), 0, 2 * self.padding + 1)
        return geometry.crop(padded, top, left, (height, width))


@dataclass(frozen=True)
class RandomFlip:
    """Exchanges left and right with probability 1/2."""

    def __call__(self, key: PRNGKeyArray, example: Example) -> Example:
        flipped = jax.random.bernoulli(key)
        return jax.tree.map(
            lambda mirrored, values: jnp.where(flipped, mirrored, values),
            geometry.flip(example),
            example,
        )


@dataclass(frozen=True)
class RandomResizedCrop:
    """Scale and crop: a part of random area and shape, resized (bilinear, antialiased).

    Source: Szegedy et al. 2015, section 6, with the distribution of
    `torchvision.transforms.RandomResizedCrop`: the first of ten random parts that fits into the
    image, or else the largest central part of an allowed shape.

    Attributes:
        size: (height, width) of the result in pixels; None means the image's own.
        scale: least and largest area, as a share of the image's.
        ratio: least and largest width / height; the logarithm is uniform.

    Raises:
        ValueError: a size below one pixel; a scale or ratio that is not positive and ascending.
    """

    size: tuple[int, int] | None = None
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        if self.size is not None and min(self.size) < 1:
            raise ValueError(f"random_resized_crop: size={self.size}, expected at least one pixel")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(
                f"random_resized_crop: scale={self.scale}, expected 0 < least <= largest <= 1"
            )
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(
                f"random_resized_crop: ratio={self.ratio}, expected 0 < least <= largest"
            )

    def __call__(self, key: PRNGKeyArray, example: Example) -> Example:
        height, width, _ = example["image"].shape
        top, left, part_height, part_width = self.part(key, height, width)
        return geometry.crop_and_resize(
            example, top, left, part_height, part_width, self.size or (height, width)
        )

    def part(self, key: PRNGKeyArray, height: int, width: int) -> Int[Array, "4"]:
        """Top, left, height and width of the part, in pixels."""
        scale_key, ratio_key, place_key = jax.random.split(key, 3)
        area = (
            height
            * width
            * jax.random.uniform(scale_key, (TRIES,), minval=self.scale[0], maxval=self.scale[1])
        )
        low, high = np.log(self.ratio)
        ratio = jnp.exp(jax.random.uniform(ratio_key, (TRIES,), minval=low, maxval=high))
        widths = jnp.round(jnp.sqrt(area * ratio)).astype(int)
        heights = jnp.round(jnp.sqrt(area / ratio)).astype(int)
        fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
        first = jnp.argmax(fits)
        size = jnp.stack([heights[first], widths[first]])
        room = jnp.array([height, width]) - size + 1
        place = jax.random.randint(place_key, (2,), 0, jnp.maximum(room, 1))
        middle = jnp.array(self.middle(height, width))
        return jnp.where(fits.any(), jnp.concatenate([place, size]), middle)

    def middle(self, height: int, width: int) -> tuple[int, int, int, int]:
        """The part if none of the ten fits into the image."""
        part_height = min(height, max(1, round(width / self.ratio[0])))
        part_width = min(width, max(1, round(height * self.ratio[1])))
        return (height - part_height) // 2, (width - part_width) // 2, part_height, part_width


@dataclass(frozen=True)
class RandomRotation:
    """Rotates by an angle uniform in [-degrees, degrees].

    Raises:
        ValueError: `degrees` is negative.
    """

    degrees: float

    def __post_init__(self) -> None:
        if self.degrees < 0:
            raise ValueError(f"random_rotation: degrees={self.degrees}, expected 0 or more")

    def __call__(self, key: PRNGKeyArray, example: Example) -> Example:
        angle = jax.random.uniform(
            key, (), example["image"].dtype, minval=-self.degrees, maxval=self.degrees
        )
        return geometry.rotate(example, angle)


@dataclass(frozen=True)
class RandomTranslation:
    """Moves by up to `fraction` of width and height in each direction, in whole pixels.

    As `torchvision.transforms.RandomAffine` with `translate=(fraction, fraction)`.

    Raises:
        ValueError: `fraction` is not in [0, 1].
    """

    fraction: float

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise ValueError(f"random_translation: fraction={self.fraction}, expected 0 to 1")

    def __call__(self, key: PRNGKeyArray, example: Example) -> Example:
        height, width, _ = example["image"].shape
        shares = jax.random.uniform(
            key, (2,), example["image"].dtype, minval=-self.fraction, maxval=self.fraction
        )
        return geometry.translate(
            example, jnp.round(shares[0] * width), jnp.round(shares[1] * height)
        )


@dataclass(frozen=True)
class RandomScale:
    """Zooms about the centre by a factor that is uniform in [low, high], at the same size.

    Raises:
        ValueError: 0 < low <= high does not hold.
    """

    low: float = 0.8
    high: float = 1.25

    def __post_init__(self) -> None:
        _check_factors("random_scale", self.low, self.high)

    def __call__(self, key: PRNGKeyArray, example: Example) -> Example:
        factor = jax.random.uniform(
            key, (), example["image"].dtype, minval=self.low, maxval=self.high
        )
        return geometry.zoom(example, factor)


@dataclass(frozen=True)
class RandomScaleCrop:
    """Resizes by a factor that is uniform in [low, high], and crops `size` at a random place.

    The usual augmentation of semantic segmentation: `ScaleJitter`, or `RandomResize`, and
    `RandomCrop` with `pad_if_needed` of torchvision. Where the resized image is smaller than the
    crop, the crop is black and `IGNORED` at the right or at the bottom. Bilinear, antialiased.

    Attributes:
        size: (height, width) of the result in pixels; None means the image's own.
        low: least factor.
        high: largest factor.

    Raises:
        ValueError: a size below one pixel; 0 < low <= high does not hold.
    """

    size: tuple[int, int] | None = None
    low: float = 0.5
    high: float = 2.0

    def __post_init__(self) -> None:
        if self.size is not None and min(self.size) < 1:
            raise ValueError(f"random_scale_crop: size={self.size}, expected at least one pixel")
        _check_factors("random_scale_crop", self.low, self.high)

    def __call__(self, key: PRNGKeyArray, example: Example) -> Example:
        height, width, _ = example["image"].shape
        size = self.size or (height, width)
        scale_key, place_key = jax.random.split(key)
        factor = jax.random.uniform(scale_key, (), minval=self.low, maxval=self.high)
        scaled = jnp.maximum(jnp.round(jnp.array([height, width]) * factor), 1).astype(int)
        room = jnp.maximum(scaled - jnp.array(size), 0)
        top, left = jax.random.randint(place_key, (2,), 0, room + 1)
        return geometry.resize_and_crop(example, scaled[0], scaled[1], top, left, size)


@dataclass(frozen=True)
class RandomElastic:
    """Deforms smoothly, by random displacements on a coarse grid with bicubic values between them.

    Source: Ronneberger et al. 2015 (U-Net), section 3.1, with Gaussian displacements of 10 pixels
    on a grid of 3x3. The grid points are the middles of equal cells of the image.

    Attributes:
        deviation: standard deviation of each displacement, right and down, in pixels.
        grid: number of grid points in each direction.

    Raises:
        ValueError: `deviation` is negative; `grid` is less than 1.
    """

    deviation: float = 10.0
    grid: int = 3

    def __post_init__(self) -> None:
        if self.deviation < 0 or self.grid < 1:
            raise ValueError(
                f"random_elastic: deviation={self.deviation}, grid={self.grid}, expected 0 or more"
                " pixels, and at least one point"
            )

    def __call__(self, key: PRNGKeyArray, example: Example) -> Example:
        shape = (self.grid, self.grid, 2)
        vectors = self.deviation * jax.random.normal(key, shape, example["image"].dtype)
        return geometry.deform(example, vectors)


def _check_factors(name: str, low: float, high: float) -> None:
    if not 0 < low <= high:
        raise ValueError(f"{name}: low={low}, high={high}, expected 0 < low <= high")


random_crop = RandomCrop
random_scale_crop = RandomScaleCrop
random_elastic = RandomElastic
random_flip = RandomFlip
random_resized_crop = RandomResizedCrop
random_rotation = RandomRotation
random_translation = RandomTranslation
random_scale = RandomScale
