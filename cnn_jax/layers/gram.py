"""The Gram matrix of features, which describes the style of an image."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from cnn_jax.layers.arguments import Images, as_images, wide


def gram_matrix(features: Images) -> Float[Array, "batch channels channels"]:
    """The product of each pair of channels, averaged over the pixels.

    It tells which features respond together, independent of where in the image. The sum of Gatys et
    al. 2016 (equation 3) is this times height * width, and the matrix of Johnson et al. 2016
    (equation 3) is this divided by the number of channels.
    """
    features = as_images(features, "features")
    _, height, width, _ = features.shape
    x = features.astype(wide(features))
    return (jnp.einsum("bhwc,bhwd->bcd", x, x) / (height * width)).astype(features.dtype)
