"""Augmentation inside the compiled step: pure functions of a key and one image in [0, 1].

Every augmentation is a small frozen value that can be called with one example, so that it can be
read (and adapted to a data set, see `suited_to`) as well as applied. Randomness is per example:
the step derives one key for each from the step and the example's global index.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PRNGKeyArray, UInt32

Augment = Callable[
    [PRNGKeyArray, Float[Array, "height width channels"]], Float[Array, "height width channels"]
]

MIRROR_IS_ANOTHER_CLASS = frozenset(
    {"digits", "mnist", "kmnist", "emnist", "mnist_corrupted", "svhn_cropped", "omniglot"}
)
"""Data sets of written characters: a mirror image is no longer an example of its class."""


@dataclass(frozen=True)
class RandomCrop:
    """A crop of the image's own size from the image padded on all four sides."""

    padding: int = 4
    mode: Literal["zeros", "reflect"] = "zeros"

    def __call__(
        self, key: PRNGKeyArray, image: Float[Array, "height width channels"]
    ) -> Float[Array, "height width channels"]:
        if self.padding == 0:
            return image
        amounts = ((self.padding, self.padding), (self.padding, self.padding), (0, 0))
        padded = jnp.pad(image, amounts, mode="constant" if self.mode == "zeros" else "reflect")
        top, left = jax.random.randint(key, (2,), 0, 2 * self.padding + 1)
        return jax.lax.dynamic_slice(padded, (top, left, 0), image.shape)


@dataclass(frozen=True)
class RandomFlip:
    """Left and right exchanged, with probability 1/2."""

    def __call__(
        self, key: PRNGKeyArray, image: Float[Array, "height width channels"]
    ) -> Float[Array, "height width channels"]:
        return jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)


def random_crop(padding: int = 4, mode: Literal["zeros", "reflect"] = "zeros") -> RandomCrop:
    """Pads with `padding` pixels on every side and crops the old size at a random place.

    He et al. 2015, section 4.2, with 4 zeros; "reflect" (airbench) mirrors the border pixels.
    """
    if padding < 0:
        raise ValueError(f"random_crop: padding={padding}, expected 0 or more pixels")
    if mode not in ("zeros", "reflect"):
        raise ValueError(f"random_crop: mode={mode!r}, expected 'zeros' or 'reflect'")
    return RandomCrop(padding, mode)


def random_flip() -> RandomFlip:
    """Exchanges left and right with probability 1/2."""
    return RandomFlip()


def apply_augment(
    augment: Sequence[Augment],
    keys: Key[Array, "batch"] | UInt32[Array, "batch 2"],
    images: Float[Array, "batch height width channels"],
) -> Float[Array, "batch height width channels"]:
    """Applies every augmentation in turn to every image, with one key an example.

    What happens to an example depends on its own key and pixels alone, never on its neighbours in
    the batch or on how the batch is spread over devices.
    """
    for number, one in enumerate(augment):
        stage_keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, number)
        images = jax.vmap(one)(stage_keys, images)
    return images


def normalize(
    images: Float[Array, "batch height width channels"],
    mean: Sequence[float],
    std: Sequence[float],
) -> Float[Array, "batch height width channels"]:
    """(images - mean) / std per channel; images are in [0, 1] and so are mean and std."""
    shape = (1, 1, 1, images.shape[-1])
    offset = jnp.asarray(mean, images.dtype).reshape(shape)
    scale = jnp.asarray(std, images.dtype).reshape(shape)
    return (images - offset) / scale


def suited_to(
    augment: Sequence[Augment], name: str, image_shape: tuple[int, int, int]
) -> tuple[tuple[Augment, ...], tuple[str, ...]]:
    """The augmentations that make sense for a data set, and a note for each that was changed.

    No mirror images of written characters. A crop whose padding is more than a quarter of the
    image's shorter side was meant for larger images: it gets an eighth, as 4 pixels are of 32.
    """
    kept: list[Augment] = []
    notes: list[str] = []
    side = min(image_shape[:2])
    for one in augment:
        if isinstance(one, RandomFlip) and name.split("/")[0] in MIRROR_IS_ANOTHER_CLASS:
            notes.append(f"no random_flip: a mirror image in {name} is no example of its class")
            continue
        if isinstance(one, RandomCrop) and one.padding > side // 4:
            notes.append(
                f"random_crop: padding {side // 8} in place of {one.padding}, as the images have"
                f" {side} pixels a side"
            )
            one = replace(one, padding=side // 8)
        kept.append(one)
    return tuple(kept), tuple(notes)
