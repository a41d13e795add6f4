"""Adapts an experiment's augmentations to a data set."""

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
"""Data sets of written characters, where a mirror image does not belong to its class."""

SLANT = 15.0
"""Largest rotation of a written character, in degrees: 6 rotated by 180 degrees is 9."""

OF_COLOUR: dict[type, str] = {
    RandomSaturation: "random_saturation",
    RandomHue: "random_hue",
    RandomLighting: "random_lighting",
}


def suited_to(
    augment: Sequence[Augment], name: str, image_shape: tuple[int, int, int]
) -> tuple[tuple[Augment, ...], tuple[str, ...]]:
    """The augmentations that make sense for a data set, and a note for each change.

    - Written characters are not mirrored, and are rotated by at most 15 degrees.
    - A crop whose padding is more than a quarter of the image's shorter side is meant for larger
      images. Its padding becomes an eighth of that side, as 4 pixels of 32.
    - A cutout larger than half of the shorter side gets half of it, as 16 pixels of 32.
    - Scaled crops have the size of the data set's images, as in evaluation.
    - Grey images have no saturation, no hue and none of ImageNet's principal colours.
    """
    kept: list[Augment] = []
    notes: list[str] = []
    height, width, channels = image_shape
    side = min(height, width)
    character = name.split("/")[0] in MIRROR_IS_ANOTHER_CLASS
    for one in augment:
        if isinstance(one, RandomFlip) and character:
            notes.append(f"no random_flip: mirror images in {name} do not belong to their class")
            continue
        if type(one) in OF_COLOUR and channels == 1:
            notes.append(f"no {OF_COLOUR[type(one)]}: the images are grey")
            continue
        if isinstance(one, RandomRotation) and character and one.degrees > SLANT:
            notes.append(
                f"random_rotation: {SLANT:g} degrees instead of {one.degrees:g}, because larger"
                f" rotations change the class of characters in {name}"
            )
            one = replace(one, degrees=SLANT)
        if isinstance(one, RandomCrop) and one.padding > side // 4:
            notes.append(
                f"random_crop: padding {side // 8} instead of {one.padding}, because the shorter"
                f" side of the images is {side} pixels"
            )
            one = replace(one, padding=side // 8)
        if isinstance(one, Cutout) and one.size > max(1, side // 2):
            notes.append(
                f"cutout: size {max(1, side // 2)} instead of {one.size}, because the shorter side"
                f" of the images is {side} pixels"
            )
            one = replace(one, size=max(1, side // 2))
        if isinstance(one, RandomResizedCrop) and one.size not in (None, (height, width)):
            notes.append(
                f"random_resized_crop: size {(height, width)} instead of {one.size}, the size of"
                " the images in evaluation"
            )
            one = replace(one, size=None)
        if isinstance(one, ColourJitter) and channels == 1 and (one.saturation or one.hue):
            notes.append("colour_jitter: brightness and contrast only, the images are grey")
            one = replace(one, saturation=0.0, hue=0.0)
        kept.append(one)
    return tuple(kept), tuple(notes)
