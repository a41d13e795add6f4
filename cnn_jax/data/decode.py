"""From encoded bytes to uint8 arrays of one size."""

import io
import struct
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image as PillowImage

from cnn_jax.data.dataset import DataError

_FORMATS = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"RIFF": "WEBP"}
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_NOT_AN_IMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    PillowImage.DecompressionBombError,
)


def decode_image(
    encoded: bytes, channels: int, image_size: int = 0
) -> UInt8[np.ndarray, "height width {channels}"]:
    """Decodes JPEG, PNG, WebP… to `channels` (1: grey, 3: RGB, 4: RGBA) of uint8.

    With `image_size` the shorter side is resized to it (bilinear, antialiased) and the square in
    the centre is kept. Raises ValueError where the bytes are no whole image.
    """
    if not encoded:
        raise ValueError("it is empty")
    # Pillow tries one format after the other, which takes longer than decoding a small image.
    formats = [name for start, name in _FORMATS.items() if encoded.startswith(start)] or None
    try:
        with PillowImage.open(io.BytesIO(encoded), formats=formats) as opened:
            image = as_mode(opened, _MODES[channels])
            if image_size:
                image = resize_and_crop(image, image_size)
            pixels = np.asarray(image)
    except PillowImage.UnidentifiedImageError as error:
        raise ValueError("its content is no image") from error
    except _NOT_AN_IMAGE as error:
        raise ValueError(str(error)) from error
    return pixels[..., None] if pixels.ndim == 2 else pixels


def as_mode(image: PillowImage.Image, mode: str) -> PillowImage.Image:
    """The image in mode "L", "RGB" or "RGBA"; 16-bit grey is scaled, not clipped."""
    if image.mode == mode:
        return image
    if image.mode.startswith("I;16"):
        # Pillow would clip 16-bit values at 255; the high byte is what one sees.
        image = PillowImage.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert(mode)


def resize_and_crop(image: PillowImage.Image, image_size: int) -> PillowImage.Image:
    """The centre square after the shorter side was resized to `image_size` pixels."""
    width, height = image.size
    scale = image_size / min(width, height)
    size = max(image_size, round(width * scale)), max(image_size, round(height * scale))
    if size != image.size:
        image = image.resize(size, PillowImage.Resampling.BILINEAR)
    left, top = (size[0] - image_size) // 2, (size[1] - image_size) // 2
    return image.crop((left, top, left + image_size, top + image_size))


def check_shape(what: str, actual: Sequence[int], expected: Sequence[int]) -> None:
    """Raises DataError where an image has not the size of the others."""
    if tuple(actual) != tuple(expected):
        raise DataError(
            f"{what} has the shape {tuple(actual)}, expected {tuple(expected)}: bring all images"
            " to one size with --data.image-size"
        )
