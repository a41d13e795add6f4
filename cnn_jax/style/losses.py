"""The losses of style transfer: of content, of style, and of roughness, a value for each image.

They are means, so that neither the size of a picture nor the number of channels changes them:

- Gatys et al. 2016, "Image Style Transfer Using Convolutional Neural Networks", have sums. Their
  content loss (equation 1) is this one times half the number of values, and their style loss of a
  layer (equation 4) a quarter of this one, if both pictures have the same size.
- Johnson et al. 2016, "Perceptual Losses for Real-Time Style Transfer and Super-Resolution", have
  exactly these (equations 2 and 4).
"""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Float

from cnn_jax.layers import gram_matrix

Images = Float[Array, "batch height width channels"]
Features = Mapping[str, Float[Array, "_batch _height _width _channels"]]
"""The maps of a network by layer, as the `features` of a model gives them."""
Grams = Mapping[str, Float[Array, "_batch _channels _channels"]]
Weights = Mapping[str, float]
"""The weight of each layer of a loss."""
Losses = Float[Array, " batch"]


def content_loss(
    features: Features, targets: Features, weights: Weights, *, relative: bool = False
) -> Losses:
    """How far maps are from those of a content picture: the mean squared difference of each layer.

    Args:
        features: of the images.
        targets: of the content pictures, one for each image.
        weights: of the layers; others are ignored.
        relative: divide the loss of a layer by the mean square of its target. Then weights mean
            the same in every network and layer.
    """
    return _weighted(features, targets, weights, relative)


def gram_matrices(features: Features, weights: Weights) -> dict[str, Array]:
    """The Gram matrices (`layers.gram_matrix`) of the layers that have a weight."""
    return {layer: gram_matrix(features[layer]) for layer in weights}


def style_loss(
    features: Features, grams: Grams, weights: Weights, *, relative: bool = False
) -> Losses:
    """How far Gram matrices are from those of a style: the mean squared difference of each layer.

    Args:
        features: of the images.
        grams: `gram_matrices` of the style, one for each image or one for all. The average over
            several styles gives the same gradient as the average of their losses.
        weights: of the layers; others are ignored.
        relative: as in `content_loss`.
    """
    return _weighted(gram_matrices(features, weights), grams, weights, relative)


def total_variation(images: Images) -> Losses:
    """The mean squared difference of neighbouring pixels, down plus right; 0 for a single pixel."""
    down, right = jnp.diff(images, axis=1), jnp.diff(images, axis=2)
    down, right = (
        jnp.sum(jnp.square(change), axis=(1, 2, 3)) / max(1, change[0].size)
        for change in (down, right)
    )
    return down + right


def _weighted(values: Mapping, targets: Mapping, weights: Weights, relative: bool) -> Losses:
    total: Losses = jnp.zeros(len(next(iter(values.values()))))
    for layer, weight in weights.items():
        axes = tuple(range(1, targets[layer].ndim))
        loss = jnp.mean(jnp.square(values[layer] - targets[layer]), axis=axes)
        if relative:
            size = jnp.mean(jnp.square(targets[layer]), axis=axes)
            loss /= jnp.maximum(size, jnp.finfo(size.dtype).tiny)
        total = total + weight * loss
    return total
