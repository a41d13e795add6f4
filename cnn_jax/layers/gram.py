"""The Gram matrix of features, which describes the style of an image."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def gram_matrix(
    features: Float[Array, "batch height width channels"],
) -> Float[Array, "batch channels channels"]:
    """The product of each pair of channels, averaged over the pixels.

    It tells which features respond together, independent of where in the image. The sum of Gatys et
    al. 2016 (equation 3) is this times height * width, and the matrix of Johnson et al. 2016
    (equation 3) is this divided by the number of channels.
    """
    _, height, width, _ = features.shape
    return jnp.einsum("bhwc,bhwd->bcd", features, features) / (height * width)
