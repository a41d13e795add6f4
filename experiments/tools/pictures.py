"""Single pictures of a user: read, resized, written."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image as PillowImage

from cnn_jax.errors import UserError
from experiments.tools.image_files import check_any, find_images, read_images

LEAST = 16
"""Pixels of the shorter side of a picture."""

Pixels = UInt8[np.ndarray, "_height _width 3"]
Picture = Float[np.ndarray, "_height _width 3"]


def read_picture(path: str | Path) -> Pixels:
    """The picture in a file, as `read_images` reads it.

    Raises:
        UserError: it cannot be read, is a folder of several, or has fewer than `LEAST` pixels.
    """
    paths = find_images([path])
    if len(paths) > 1:
        raise UserError(f"{path} is a folder of {len(paths):,} images, expected one picture")
    good, bad = read_images(paths)
    check_any(len(good), bad)
    ((_, image),) = good
    height, width = image.shape[:2]
    if min(height, width) < LEAST:
        raise UserError(
            f"{path} has {width}x{height} pixels, expected at least {LEAST}x{LEAST}: take a larger "
            "picture"
        )
    return image


def resized(image: Pixels, longer: int) -> Picture:
    """The picture in [0, 1] with this number of pixels in its longer side."""
    height, width = image.shape[:2]
    scale = longer / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = PillowImage.fromarray(image).resize(size, PillowImage.Resampling.LANCZOS)
    return np.asarray(picture, np.float64) / 255


def as_pixels(picture: Picture) -> Pixels:
    """A picture in [0, 1] as bytes; other values are clipped."""
    return np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def write_picture(picture: Pixels, path: Path) -> None:
    """Write a PNG, JPEG or another file of Pillow's, by its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(picture).save(path)
