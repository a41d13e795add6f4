"""Augmentation inside the compiled step: pure functions of a key and an example in [0, 1].

`spatial` moves image, boxes and mask together, `photometric` changes the image alone, `mix` mixes
a batch and its labels; what they do once the random numbers are drawn is in `geometry` and
`colour`.
"""

from cnn_jax.data.augment.alternating import alternating_flip
from cnn_jax.data.augment.example import (
    IGNORED,
    Augment,
    Example,
    apply_augment,
    augment_examples,
    normalize,
)
from cnn_jax.data.augment.mix import Cutmix, Mix, Mixup, cutmix, mixup
from cnn_jax.data.augment.photometric import (
    ColourJitter,
    Cutout,
    RandomBrightness,
    RandomContrast,
    RandomHue,
    RandomLighting,
    RandomNoise,
    RandomSaturation,
    colour_jitter,
    cutout,
    random_brightness,
    random_contrast,
    random_hue,
    random_lighting,
    random_noise,
    random_saturation,
)
from cnn_jax.data.augment.spatial import (
    RandomCrop,
    RandomFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomScale,
    RandomTranslation,
    random_crop,
    random_flip,
    random_resized_crop,
    random_rotation,
    random_scale,
    random_translation,
)
from cnn_jax.data.augment.suited import suited_to

__all__ = [
    "IGNORED",
    "Augment",
    "ColourJitter",
    "Cutmix",
    "Cutout",
    "Example",
    "Mix",
    "Mixup",
    "RandomBrightness",
    "RandomContrast",
    "RandomCrop",
    "RandomFlip",
    "RandomHue",
    "RandomLighting",
    "RandomNoise",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomSaturation",
    "RandomScale",
    "RandomTranslation",
    "alternating_flip",
    "apply_augment",
    "augment_examples",
    "colour_jitter",
    "cutmix",
    "cutout",
    "mixup",
    "normalize",
    "random_brightness",
    "random_contrast",
    "random_crop",
    "random_flip",
    "random_hue",
    "random_lighting",
    "random_noise",
    "random_resized_crop",
    "random_rotation",
    "random_saturation",
    "random_scale",
    "random_translation",
    "suited_to",
]
