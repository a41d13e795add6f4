"""Random brightness, contrast, saturation, hue, noise, lighting and cutout.

They change the image only. Use the lower-case names in an experiment.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from cnn_jax.data.augment import colour
from cnn_jax.data.augment.example import Example


@dataclass(frozen=True)
class RandomBrightness:
    """Blends with black, by a factor that is uniform in [max(0, 1 - amount), 1 + amount].

    As `torchvision.transforms.ColorJitter`.

    Raises:
        ValueError: `amount` is negative.
    """

    amount: float

    def __post_init__(self) -> None:
        _not_negative("random_brightness", "amount", self.amount)

    def __call__(self, key: PRNGKeyArray, example: Example) -> Example:
        image = example["image"]
        factor = _factor(key, self.amount, image.dtype)
        return example | {"image": colour.adjust_brightness(image, factor)}


@dataclass(frozen=True)
class RandomContrast:
    """Blends with the image's mean grey, by a factor like that of `RandomBrightness`.

    Raises:
        ValueError: `amount` is negative.
    """

    amount: float

    def __post_init__(self) -> None:
        _not_negative("random_contrast", "amount", self.amount)

    def __call__(self, key: PRNGKeyArray, example: Example) -> Example:
        image = example["image"]
        factor = _factor(key, self.amount, image.dtype)
        return example | {"image": colour.adjust_contrast(image, factor)}


@dataclass(frozen=True)
class RandomSaturation:
    """Blends with the grey image, by a factor like that of `RandomBrightness`.

    Raises:
        ValueError: `amount` is negative.
    """

    amount: float

    def __post_init__(self) -> None:
        _not_negative("random_saturation", "amount", self.amount)

    def __call__(self, key: PRNGKeyArray, example: Example) -> Example:
        image = example["image"]
        factor = _factor(key, self.amount, image.dtype)
        return example | {"image": colour.adjust_saturation(image, factor)}


@dataclass(frozen=True)
class RandomHue:
    """Shifts the hue by a share of the circle that is uniform in [-amount, amount].

    Raises:
        ValueError: `amount` is not in [0, 1/2].
    """

    amount: float

    def __post_init__(self) -> None:
        if not 0 <= self.amount <= 0.5:
            raise ValueError(f"random_hue: amount={self.amount}, expected 0 to 0.5 of the circle")

    def __call__(self, key: PRNGKeyArray, example: Example) -> Example:
        image = example["image"]
        turns = jax.random.uniform(key, (), image.dtype, minval=-self.amount, maxval=self.amount)
        return example | {"image": colour.adjust_hue(image, turns)}


@dataclass(frozen=True)
class ColourJitter:
    """Random brightness, contrast, saturation and hue, in this order. 0 leaves one out.

    `torchvision.transforms.ColorJitter`, except that the order is not shuffled.

    Raises:
        ValueError: an amount is out of range.
    """

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1

    def __post_init__(self) -> None:
        self._stages()

    def __call__(self, key: PRNGKeyArray, example: Example) -> Example:
        for stage_key, (stage, amount) in zip(
            jax.random.split(key, 4), self._stages(), strict=True
        ):
            if amount:
                example = stage(stage_key, example)
        return example

    def _stages(self) -> tuple:
        return (
            (RandomBrightness(self.brightness), self.brightness),
            (RandomContrast(self.contrast), self.contrast),
            (RandomSaturation(self.saturation), self.saturation),
            (RandomHue(self.hue), self.hue),
        )


@dataclass(frozen=True)
class RandomNoise:
    """Adds normal noise of standard deviation `std` to every value.

    As `torchvision.transforms.v2.GaussianNoise`.

    Raises:
        ValueError: `std` is negative.
    """

    std: float = 0.1

    def __post_init__(self) -> None:
        _not_negative("random_noise", "std", self.std)

    def __call__(self, key: PRNGKeyArray, example: Example) -> Example:
        image = example["image"]
        noise = self.std * jax.random.normal(key, image.shape, image.dtype)
        return example | {"image": jnp.clip(image + noise, 0, 1)}


@dataclass(frozen=True)
class RandomLighting:
    """AlexNet's colour augmentation: shifts all pixels along the principal colours of ImageNet.

    `std` is the standard deviation of the weights. Source: Krizhevsky et al. 2012, section 4.1.

    Raises:
        ValueError: `std` is negative; when called, the image does not have three channels.
    """

    std: float = 0.1

    def __post_init__(self) -> None:
        _not_negative("random_lighting", "std", self.std)

    def __call__(self, key: PRNGKeyArray, example: Example) -> Example:
        image = example["image"]
        weights = self.std * jax.random.normal(key, (3,), image.dtype)
        return example | {"image": colour.add_lighting(image, weights)}


@dataclass(frozen=True)
class Cutout:
    """Fills a square of `size` pixels with `fill`; its centre is uniform in the image.

    The square may extend beyond the image. Source: DeVries and Taylor 2017, who cut after
    normalization, where 0 is the mean; in [0, 1] a medium grey is close to that.

    Raises:
        ValueError: `size` is not positive.
    """

    size: int
    fill: float = 0.5

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"cutout: size={self.size}, expected at least one pixel")

    def __call__(self, key: PRNGKeyArray, example: Example) -> Example:
        image = example["image"]
        row, column = jax.random.randint(key, (2,), 0, jnp.array(image.shape[:2]))
        top, left = row - self.size // 2, column - self.size // 2
        return example | {"image": colour.fill_square(image, top, left, self.size, self.fill)}


IMAGE_ONLY = (
    RandomBrightness,
    RandomContrast,
    RandomSaturation,
    RandomHue,
    ColourJitter,
    RandomNoise,
    RandomLighting,
    Cutout,
)
"""The augmentations that move nothing."""

random_brightness = RandomBrightness
random_contrast = RandomContrast
random_saturation = RandomSaturation
random_hue = RandomHue
colour_jitter = ColourJitter
random_noise = RandomNoise
random_lighting = RandomLighting
cutout = Cutout


def _factor(key: PRNGKeyArray, amount: float, dtype: jnp.dtype) -> Float[Array, ""]:
    return jax.random.uniform(key, (), dtype, minval=max(0.0, 1 - amount), maxval=1 + amount)


def _not_negative(name: str, argument: str, value: float) -> None:
    if value < 0:
        raise ValueError(f"{name}: {argument}={value}, expected 0 or more")
