"""Saliency maps: the gradient of a score with respect to the pixels."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cnn_jax.interpretability.score import Images, Score


def saliency(score: Score, images: Images) -> Float[Array, "batch height width"]:
    """The largest absolute derivative of the score over the channels of each pixel.

    Simonyan et al. 2014, "Deep Inside Convolutional Networks", section 3.1.

    Args:
        score: function of the images that is explained.
        images: inputs of the score.
    """
    gradient = jax.grad(lambda images: jnp.sum(score(images)))(images)
    return jnp.max(jnp.abs(gradient), axis=-1)
