"""Gram matrix of features, the style of an image."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def gram_matrix(
    features: Float[Array, "batch height width channels"],
) -> Float[Array, "batch channels channels"]:
    """Mean over the pixels of the product of every two channels.

    Which features respond together, wherever in the image they do. Divided by height * width, so
    that it does not depend on the image's size: times height * width it is the sum of Gatys et al.
    2016 (equation 3), divided by channels the matrix of Johnson et al. 2016 (equation 3).
    """
    _, height, width, _ = features.shape
    return jnp.einsum("bhwc,bhwd->bcd", features, features) / (height * width)
