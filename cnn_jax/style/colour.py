"""Keep the colours of a content picture in style transfer.

Source: Gatys et al. 2016, "Preserving Color in Neural Artistic Style Transfer".
"""

import numpy as np
from jaxtyping import Float

Image = Float[np.ndarray, "height width 3"]
Other = Float[np.ndarray, "other_height other_width 3"]
LUMINANCE = np.array([0.299, 0.587, 0.114])
"""Y of YIQ, of red, green and blue."""
LEAST_VARIANCE = 1e-7
"""Added to the variance of colours, so that a picture of one colour can be matched."""


def luminance(image: Image) -> Image:
    """The luminance of an RGB image, as a gray image of three equal channels."""
    return np.repeat(image @ LUMINANCE[:, None], 3, axis=-1)


def with_luminance(image: Image, gray: Image) -> Image:
    """The colours (I and Q of YIQ) of an image with the luminance of a gray one of its size.

    Values may leave [0, 1].
    """
    # Of YIQ, equal steps of red, green and blue change Y alone.
    return image + gray - luminance(image)


def match_luminance(gray: Image, to: Other) -> Image:
    """A gray image, shifted and scaled to the mean and the deviation of another one."""
    deviation = np.sqrt(np.var(gray) + LEAST_VARIANCE)
    scale = np.sqrt(np.var(to) + LEAST_VARIANCE) / deviation
    return (gray - np.mean(gray)) * scale + np.mean(to)


def match_colours(image: Image, to: Other) -> Image:
    """An image whose colours have the mean and the covariance of those of another one.

    This is the linear map of colours of Hertzmann 2001 (section 3.1 of the source) that mixes the
    channels least: with the covariances S of the image and T of the other one, T^(1/2) S^(-1/2).
    Values may leave [0, 1].
    """
    own, others = image.reshape(-1, 3), to.reshape(-1, 3)
    matrix = _root(_covariance(others), 0.5) @ _root(_covariance(own), -0.5)
    matched = (own - own.mean(axis=0)) @ matrix.T + others.mean(axis=0)
    return matched.reshape(image.shape)


def match_histograms(image: Image, to: Other) -> Image:
    """An image each of whose channels has the histogram of the other one's channel.

    A value becomes the one with the same share of values that are smaller or equal, interpolated
    linearly between the values that the other channel has, as `skimage.exposure.match_histograms`
    does. Unlike `match_colours` this gives distributions of any shape and stays in the range of
    the other image. How channels vary together is not matched, so that colours may be stronger
    than in either image.
    """
    channels = [_ranked(image[..., i], to[..., i]) for i in range(image.shape[-1])]
    return np.stack(channels, axis=-1)


def _ranked(
    channel: Float[np.ndarray, "height width"], to: Float[np.ndarray, "other_height other_width"]
) -> Float[np.ndarray, "height width"]:
    _, places, counts = np.unique(channel, return_inverse=True, return_counts=True)
    values, others = np.unique(to, return_counts=True)
    shares, of_others = np.cumsum(counts) / channel.size, np.cumsum(others) / to.size
    return np.interp(shares, of_others, values)[places].reshape(channel.shape)


def _covariance(colours: Float[np.ndarray, "pixels 3"]) -> Float[np.ndarray, "3 3"]:
    centred = colours - colours.mean(axis=0)
    return centred.T @ centred / len(colours) + LEAST_VARIANCE * np.eye(3)


def _root(matrix: Float[np.ndarray, "3 3"], power: float) -> Float[np.ndarray, "3 3"]:
    """A power of a symmetric matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * values**power) @ vectors.T
