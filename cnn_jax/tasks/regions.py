"""Losses of regions: what they share with the labels, and weights along their borders."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cnn_jax.errors import ConfigError
from cnn_jax.tasks.labels import ClassOutputs, Labels, class_targets, counted


def dice_loss(
    logits: ClassOutputs, labels: Labels, *, ignore_index: int | None = None
) -> Float[Array, " batch"]:
    """1 minus the Dice coefficient of probabilities and labels, for each image.

    The coefficient of a class is 2 sum(p t) / (sum(p) + sum(t)), for the softmax p and the one-hot
    labels t over the pixels of the image (Drozdzal et al. 2016, "The Importance of Skip Connections
    in Biomedical Image Segmentation", section 3.2). Its mean is taken over the classes that the
    image has. An image without any label that counts has the loss 0.

    Args:
        logits: outputs before the softmax.
        labels: the class of each pixel.
        ignore_index: a label that does not count; None counts all.

    Raises:
        ConfigError: labels that do not belong to the logits.
    """
    targets = class_targets(logits, labels, ignore_index)
    probabilities = jax.nn.softmax(logits) * counted(labels, ignore_index)[..., None]
    pixels = tuple(range(1, logits.ndim - 1))
    both, predicted, true = (
        jnp.sum(a, axis=pixels) for a in (probabilities * targets, probabilities, targets)
    )
    occurs = true > 0
    coefficients = 2 * both / jnp.where(occurs, predicted + true, 1)
    number = jnp.sum(occurs, axis=-1)
    lost = jnp.sum(jnp.where(occurs, 1 - coefficients, 0), axis=-1)
    # A label that is no class makes its image NaN.
    return jnp.where(jnp.isnan(jnp.sum(true, axis=-1)), jnp.nan, lost / jnp.maximum(number, 1))


def border_weights(
    instances: Int[np.ndarray, "height width"], *, strength: float = 10.0, sigma: float = 5.0
) -> Float[np.ndarray, "height width"]:
    """U-Net's weight of each pixel, larger between objects that nearly touch.

    It is 1 + w_0 exp(-(d_1 + d_2)^2 / (2 sigma^2)) on the background, for the distances d_1 and d_2
    in pixels to the nearest two objects, and 1 on objects (Ronneberger et al. 2015, section 3,
    equation 2, without its weights of classes, for which see `Segmentation.class_weights`). Of one
    object or none it is 1 everywhere. An example holds it as `pixel_weight`.

    Args:
        instances: 0 for the background, another number for every object. Where there are only
            classes, `scipy.ndimage.label(mask == inside)[0]`.
        strength: w_0.
        sigma: width of the borders, in pixels.

    Raises:
        ConfigError: another shape, or a sigma that is not positive.
    """
    from scipy import ndimage

    if np.ndim(instances) != 2 or not sigma > 0:
        raise ConfigError(
            "border weights need instances [height, width] and a positive sigma, got shape "
            f"{np.shape(instances)} and {sigma}"
        )
    nearest = np.full((2, *instances.shape), np.inf)
    for number in np.unique(instances[instances != 0]):
        distance = ndimage.distance_transform_edt(instances != number)
        nearest = np.sort(np.stack([*nearest, distance]), axis=0)[:2]
    between = strength * np.exp(-np.square(nearest.sum(axis=0)) / (2 * sigma**2))
    return (1 + np.where(instances == 0, between, 0)).astype(np.float32)
