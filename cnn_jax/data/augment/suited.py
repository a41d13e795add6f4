"""Which of an experiment's augmentations make sense for a data set."""

from collections.abc import Sequence
from dataclasses import replace

from cnn_jax.data.augment.example import Augment
from cnn_jax.data.augment.photometric import (
    ColourJitter,
    Cutout,
    RandomHue,
    RandomLighting,
    RandomSaturation,
)
from cnn_jax.data.augment.spatial import (
    RandomCrop,
    RandomFlip,
    RandomResizedCrop,
    RandomRotation,
)

MIRROR_IS_ANOTHER_CLASS = frozenset(
    {"digits", "mnist", "kmnist", "emnist", "mnist_corrupted", "svhn_cropped", "omniglot"}
)
"""Data sets of written characters: a mirror image is no longer an example of its class."""

SLANT = 15.0
"""Degrees that a written character may be rotated by: 6 and 9 are rotations of one another."""

OF_COLOUR: dict[type, str] = {
    RandomSaturation: "random_saturation",
    RandomHue: "random_hue",
    RandomLighting: "random_lighting",
}


def suited_to(
    augment: Sequence[Augment], name: str, image_shape: tuple[int, int, int]
) -> tuple[tuple[Augment, ...], tuple[str, ...]]:
    """The augmentations that make sense for a data set, and a note for each that was changed.

    - Written characters are not mirrored, and are rotated by 15 degrees at most.
    - A crop whose padding is more than a quarter of the image's shorter side was meant for larger
      images: it gets an eighth, as 4 pixels are of 32. So does a cutout larger than half of it:
      it gets the half, as 16 pixels are of 32.
    - Scaled crops have the size of the data set's images, which evaluation sees.
    - Gray images have neither saturation nor hue, and none of ImageNet's principal colours.
    """
    kept: list[Augment] = []
    notes: list[str] = []
    height, width, channels = image_shape
    side = min(height, width)
    character = name.split("/")[0] in MIRROR_IS_ANOTHER_CLASS
    for one in augment:
        if isinstance(one, RandomFlip) and character:
            notes.append(f"no random_flip: a mirror image in {name} is no example of its class")
            continue
        if type(one) in OF_COLOUR and channels == 1:
            notes.append(f"no {OF_COLOUR[type(one)]}: the images are gray")
            continue
        if isinstance(one, RandomRotation) and character and one.degrees > SLANT:
            notes.append(
                f"random_rotation: {SLANT:g} degrees in place of {one.degrees:g}, as the"
                f" characters of {name} change their class when they are rotated further"
            )
            one = replace(one, degrees=SLANT)
        if isinstance(one, RandomCrop) and one.padding > side // 4:
            notes.append(
                f"random_crop: padding {side // 8} in place of {one.padding}, as the images have"
                f" {side} pixels a side"
            )
            one = replace(one, padding=side // 8)
        if isinstance(one, Cutout) and one.size > max(1, side // 2):
            notes.append(
                f"cutout: size {max(1, side // 2)} in place of {one.size}, as the images have"
                f" {side} pixels a side"
            )
            one = replace(one, size=max(1, side // 2))
        if isinstance(one, RandomResizedCrop) and one.size not in (None, (height, width)):
            notes.append(
                f"random_resized_crop: size {(height, width)} in place of {one.size}, as the"
                " images have it when they are evaluated"
            )
            one = replace(one, size=None)
        if isinstance(one, ColourJitter) and channels == 1 and (one.saturation or one.hue):
            notes.append("colour_jitter: brightness and contrast alone, as the images are gray")
            one = replace(one, saturation=0.0, hue=0.0)
        kept.append(one)
    return tuple(kept), tuple(notes)
