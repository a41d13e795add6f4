"""From encoded bytes to uint8 arrays of one size."""

import io
import struct
from collections.abc import Sequence
from functools import partial

import numpy as np
from jaxtyping import UInt8
from PIL import Image as PillowImage

from cnn_jax.data.dataset import Crop, DataError

_FORMATS = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"RIFF": "WEBP"}
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_NOT_AN_IMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
)
# EXIF 2.3, section 4.6.4: how the image is turned and mirrored as it is stored.
_ORIENTATION_TAG = 274
_ORIENTATIONS = {
    2: PillowImage.Transpose.FLIP_LEFT_RIGHT,
    3: PillowImage.Transpose.ROTATE_180,
    4: PillowImage.Transpose.FLIP_TOP_BOTTOM,
    5: PillowImage.Transpose.TRANSPOSE,
    6: PillowImage.Transpose.ROTATE_270,
    7: PillowImage.Transpose.TRANSVERSE,
    8: PillowImage.Transpose.ROTATE_90,
}


def decode_image(
    encoded: bytes, channels: int, crop: Crop | None = None, *, at_most: int = 0
) -> UInt8[np.ndarray, "height width {channels}"]:
    """Decodes JPEG, PNG, WebP… to `channels` (1: grey, 3: RGB, 4: RGBA) of uint8.

    The image is as viewers show it: turned as its EXIF orientation says, 16 bits scaled to 8; only
    transparency is left out where it is not asked for. `crop` gets the whole image, as
    `centre_square` and `random_part` do. With `at_most` a shorter side of more pixels is resized to
    it first, the other in proportion; the decoder of a JPEG then skips what is not needed.

    Raises ValueError where the bytes are no whole image, or one too large to be decoded.
    """
    if not encoded:
        raise ValueError("it is empty")
    # Pillow tries one format after the other, which takes longer than decoding a small image.
    formats = [name for start, name in _FORMATS.items() if encoded.startswith(start)] or None
    try:
        with PillowImage.open(io.BytesIO(encoded), formats=formats) as opened:
            # Taken before a draft, which changes the size that the image says it has.
            size = _within(opened.size, at_most) if at_most else opened.size
            orientation = _ORIENTATIONS.get(opened.getexif().get(_ORIENTATION_TAG, 1))
            if size != opened.size:
                opened.draft(None, size)
            image = as_mode(opened, _MODES[channels])
            if size != image.size:
                image = image.resize(size, PillowImage.Resampling.BILINEAR)
            if orientation is not None:
                image = image.transpose(orientation)
            if crop is not None:
                image = crop(image)
            pixels = np.asarray(image)
    except PillowImage.UnidentifiedImageError as error:
        raise ValueError("its content is no image") from error
    except PillowImage.DecompressionBombError as error:
        limit = 2 * (PillowImage.MAX_IMAGE_PIXELS or 0)
        raise ValueError(
            f"it has more than {limit:,} pixels, the most that are decoded: make it smaller"
        ) from error
    except _NOT_AN_IMAGE as error:
        raise ValueError(str(error)) from error
    return pixels[..., None] if pixels.ndim == 2 else pixels


def as_mode(image: PillowImage.Image, mode: str) -> PillowImage.Image:
    """The image in mode "L", "RGB" or "RGBA"; 16-bit grey is scaled, not clipped."""
    if image.mode == mode:
        return image
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65_535:
            raise ValueError(
                f"its values reach from {values.min()} to {values.max()}: save it with 8 or 16 bits"
            )
        # Pillow would clip 16-bit values at 255; the high byte is what one sees.
        image = PillowImage.fromarray((values >> 8).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("its values are floating point: save it with 8 or 16 bits")
    if image.mode == "P" and "transparency" in image.info:
        # Pillow warns of palettes with transparency that go to RGB without this step.
        image = image.convert("RGBA")
    return image.convert(mode)


def centre_square(image_size: int, resize: int = 0) -> Crop:
    """A crop to the square in the centre, after the shorter side was resized (bilinear).

    Sizes and places are rounded as by `Resize(resize)` and `CenterCrop(image_size)` of
    torchvision. `resize` is at least `image_size`, and 0 stands for that.
    """
    return partial(_centre_square, image_size, resize or image_size)


def _centre_square(image_size: int, shorter: int, image: PillowImage.Image) -> PillowImage.Image:
    width, height = image.size
    if width <= height:
        size = shorter, int(shorter * height / width)
    else:
        size = int(shorter * width / height), shorter
    if size != image.size:
        image = image.resize(size, PillowImage.Resampling.BILINEAR)
    left, top = round((size[0] - image_size) / 2), round((size[1] - image_size) / 2)
    return image.crop((left, top, left + image_size, top + image_size))


def _within(size: tuple[int, int], at_most: int) -> tuple[int, int]:
    """The size, or one in its proportions whose shorter side has as many pixels as are allowed."""
    width, height = size
    scale = min(1.0, at_most / min(width, height))
    return round(width * scale), round(height * scale)


def check_shape(what: str, actual: Sequence[int], expected: Sequence[int]) -> None:
    """Raises DataError where an image has not the size of the others."""
    if tuple(actual) != tuple(expected):
        raise DataError(
            f"{what} has the shape {tuple(actual)}, expected {tuple(expected)}: bring all images"
            " to one size with --data.image-size"
        )
