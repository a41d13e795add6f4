"""Deterministic changes of the values of one image in [0, 1].

Brightness, contrast, saturation and hue have the meaning of `torchvision.transforms.functional`.
All results are clipped to [0, 1].
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

Image = Float[Array, "height width channels"]
Scalar = Float[Array, ""] | float
Whole = Int[Array, ""] | int

GREY_WEIGHTS = (0.2989, 0.587, 0.114)

# Principal components of ImageNet's colours for values in [0, 1], published in
# facebookarchive/fb.resnet.torch (datasets/imagenet.lua). The rows of EIGENVECTORS are R, G, B.
EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)


def grey(image: Image) -> Float[Array, "height width 1"]:
    """Luma of an RGB image (ITU-R 601). An image with one channel is returned unchanged.

    Raises:
        ValueError: the image has neither one nor three channels.
    """
    if image.shape[-1] == 1:
        return image
    _check_rgb(image, "grey")
    return (image * jnp.asarray(GREY_WEIGHTS, image.dtype).reshape(1, 1, 3)).sum(-1, keepdims=True)


def adjust_brightness(image: Image, factor: Scalar) -> Image:
    """Blends with black: 0 gives black, 1 the image itself, 2 doubles the brightness."""
    return jnp.clip(image * factor, 0, 1)


def adjust_contrast(image: Image, factor: Scalar) -> Image:
    """Blends with the image's mean grey: 0 gives that grey, 1 the image itself."""
    return _blend(image, grey(image).mean(), factor)


def adjust_saturation(image: Image, factor: Scalar) -> Image:
    """Blends with the grey image: 0 gives it, 1 the image itself. Grey images do not change."""
    return image if image.shape[-1] == 1 else _blend(image, grey(image), factor)


def adjust_hue(image: Image, turns: Scalar) -> Image:
    """Shifts the hue (H of HSV) by `turns` in [-1/2, 1/2] of the circle. Grey images do not change.

    Raises:
        ValueError: the image has neither one nor three channels.
    """
    if image.shape[-1] == 1:
        return image
    _check_rgb(image, "adjust_hue")
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    value, chroma = image.max(-1), image.max(-1) - image.min(-1)
    divisor = jnp.where(chroma == 0, 1, chroma)
    # In sixths of the circle: red 0, green 2, blue 4.
    hue = jnp.where(
        value == red,
        (green - blue) / divisor,
        jnp.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    hue = hue + 6 * jnp.asarray(turns, image.dtype)
    channels = []
    for offset in (5, 3, 1):
        place = jnp.mod(offset + hue, 6)
        channels.append(value - chroma * jnp.clip(jnp.minimum(place, 4 - place), 0, 1))
    return jnp.clip(jnp.stack(channels, axis=-1), 0, 1)


def add_lighting(image: Image, weights: Float[Array, "3"]) -> Image:
    """Adds ImageNet's principal colours, scaled by their eigenvalues and by `weights`.

    All pixels get the same sum. Source: Krizhevsky et al. 2012, section 4.1.

    Raises:
        ValueError: the image does not have three channels.
    """
    _check_rgb(image, "add_lighting")
    principal = jnp.asarray(np.array(EIGENVECTORS) * np.array(EIGENVALUES), image.dtype)
    shift = (principal * weights.astype(image.dtype)[None, :]).sum(axis=1)
    return jnp.clip(image + shift.reshape(1, 1, 3), 0, 1)


def fill_square(image: Image, top: Whole, left: Whole, size: int, fill: Scalar) -> Image:
    """Fills a square of `size` pixels at (top, left). It may extend beyond the image."""
    rows, columns = jnp.arange(image.shape[0]), jnp.arange(image.shape[1])
    inside_rows = (rows >= top) & (rows < top + size)
    inside_columns = (columns >= left) & (columns < left + size)
    inside = inside_rows[:, None, None] & inside_columns[None, :, None]
    return jnp.where(inside, jnp.asarray(fill, image.dtype), image)


def _blend(image: Image, other: Array, factor: Scalar) -> Image:
    return jnp.clip(factor * image + (1 - factor) * other, 0, 1)


def _check_rgb(image: Image, name: str) -> None:
    if image.shape[-1] != 3:
        raise ValueError(
            f"{name}: image of shape {image.shape}, expected three channels; `suited_to` removes"
            " colour augmentations for grey images"
        )
