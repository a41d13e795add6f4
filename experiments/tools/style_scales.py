"""The pictures of a style transfer at each of its sizes, and what becomes of their colours."""

from collections.abc import Sequence
from typing import Literal

import jax
import numpy as np

from cnn_jax.errors import ConfigError
from cnn_jax.style import (
    luminance,
    match_colours,
    match_histograms,
    match_luminance,
    with_luminance,
)
from experiments.tools.pictures import Picture, Pixels, as_pixels, resized
from experiments.tools.style_network import StyleNetwork

Colour = Literal["style", "luminance", "match", "histogram"]


def sizes(largest: int, scales: int) -> list[int]:
    """The longer sides of the image, the smallest first, each half of the next one."""
    return [max(1, largest >> halvings) for halvings in reversed(range(scales))]


def prepared(
    content: Pixels, styles: Sequence[Pixels], *, size: int, style_size: float, colour: Colour
) -> tuple[Picture, Picture, list[Picture]]:
    """The content, and content and styles as the network sees them, at one size.

    Args:
        content: the content picture.
        styles: the style pictures.
        size: longer side of the content in pixels.
        style_size: longer side of the styles, relative to it.
        colour: whether colours are the styles', left out, or matched to the content's before, by
            mean and covariance or by the histogram of each channel.
    """
    original = resized(content, size)
    pictures = [resized(style, max(1, round(size * style_size))) for style in styles]
    if colour == "luminance":
        gray = luminance(original)
        return original, gray, [match_luminance(luminance(one), gray) for one in pictures]
    if colour == "match":
        pictures = [np.clip(match_colours(one, original), 0, 1) for one in pictures]
    if colour == "histogram":
        pictures = [match_histograms(one, original) for one in pictures]
    return original, original, pictures


def finished(image: jax.Array, original: Picture, colour: Colour) -> Pixels:
    """The picture of an optimized image, with the original's colours if they were left out."""
    picture = np.asarray(image[0], np.float64)
    if colour == "luminance":
        picture = with_luminance(original, luminance(picture))
    return as_pixels(picture)


def check_sizes(content: Pixels, network: StyleNetwork, largest: int, scales: int) -> None:
    """Raise a ConfigError unless the smallest image has a pixel in each layer."""
    height, width, _ = resized(content, sizes(largest, scales)[0]).shape
    if min(height, width) < network.least_size:
        raise ConfigError(
            f"at the smallest of {scales} sizes the image has {width}x{height} pixels, and the "
            f"layers {', '.join((*network.content_layers, *network.style_layers))} need at least "
            f"{network.least_size}x{network.least_size}: use fewer --scales, a larger --size or "
            "other --style-layers"
        )
