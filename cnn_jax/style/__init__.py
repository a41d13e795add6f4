"""The style of a picture, and an image that has it: losses, optimization, colours."""

from cnn_jax.style.colour import (
    luminance,
    match_colours,
    match_histograms,
    match_luminance,
    with_luminance,
)
from cnn_jax.style.losses import content_loss, gram_matrices, style_loss, total_variation
from cnn_jax.style.optimization import Progress, make_optimization, optimize_image

__all__ = [
    "Progress",
    "content_loss",
    "gram_matrices",
    "luminance",
    "make_optimization",
    "match_colours",
    "match_histograms",
    "match_luminance",
    "optimize_image",
    "style_loss",
    "total_variation",
    "with_luminance",
]
