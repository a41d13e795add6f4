"""The augmentation of training images with boxes."""

from cnn_jax.data import Augment, colour_jitter, random_flip, random_resized_crop


def object_augment(least_area: float) -> list[Augment]:
    """Exchange left and right, cut out a part and enlarge it, and change the colours.

    Args:
        least_area: the least share of an image that is cut out; 1 cuts out nothing.
    """
    crop = [random_resized_crop(scale=(least_area, 1.0))] if least_area < 1 else []
    return [random_flip(), *crop, colour_jitter(0.3, 0.3, 0.3, 0.05)]
