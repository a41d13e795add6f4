"""Decodes images to uint8 arrays of one size."""

import io
import struct
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
from jaxtyping import UInt8
from PIL import Image as PillowImage

from cnn_jax.data.errors import DataError
from cnn_jax.data.examples import Crop
from cnn_jax.data.image_files import FORMATS
from cnn_jax.data.metadata import MetadataWarning, without_metadata

MOST_PIXELS = 1 << 27
"""The largest width times height of an image that is decoded."""
LONGEST_SIDE = 11_585
"""The side of a square of as many pixels."""
_STARTS = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"RIFF": "WEBP"}
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Pillow's mode of an image with as many channels."""
_EXIF = (b"Exif", b"eXIf", b"EXIF")  # in JPEG, PNG and WebP
_one_at_a_time = threading.Lock()
# EXIF 2.3, section 4.6.4: the rotation and reflection of the stored image.
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
    encoded: bytes,
    channels: int,
    crop: Crop | None = None,
    *,
    at_most: int = 0,
    name: str = "an image",
) -> UInt8[np.ndarray, "height width {channels}"]:
    """Decodes an image of one of `image_files.FORMATS` to uint8.

    The image is as viewers show it: its EXIF orientation is applied, and 16 bits are scaled to 8.
    Without an alpha channel, transparency is ignored. Broken metadata is left out, with a
    `MetadataWarning`.

    Args:
        encoded: the bytes of an image file.
        channels: 1 for grey, 3 for RGB, 4 for RGBA.
        crop: applied to the whole image, such as `centre_square` and `random_part`.
        at_most: resizes a larger shorter side to this many pixels first, keeping the aspect ratio;
            JPEGs are then decoded at a reduced size. 0 does not resize.
        name: of the image, for the warning.

    Raises:
        ValueError: the bytes are not a complete image, or it has more than `MOST_PIXELS` pixels.
    """
    if not encoded:
        raise ValueError("it is empty")
    decode = partial(_decode, channels=channels, crop=crop, at_most=at_most)
    try:
        pixels, whole = decode(encoded)
    except ValueError as error:
        pixels_only = without_metadata(encoded)
        if pixels_only == encoded:
            raise
        try:
            pixels, whole = decode(pixels_only)[0], False
        except ValueError:
            raise error from None
    if not whole:  # Python shows the warning of each image once.
        message = f"metadata of {name} is broken and left out; its pixels are used"
        warnings.warn(message, MetadataWarning, stacklevel=2)
    return pixels


def _decode(
    encoded: bytes, *, channels: int, crop: Crop | None, at_most: int
) -> tuple[UInt8[np.ndarray, "height width {channels}"], bool]:
    """The image, and whether its orientation could be read."""
    with opened_image(encoded) as (opened, turn, whole):
        # Before the draft, which changes the image's size.
        size = _within(opened.size, at_most) if at_most else opened.size
        if size != opened.size:
            opened.draft(None, size)
        image = as_mode(opened, MODES[channels])
        if size != image.size:
            image = image.resize(size, PillowImage.Resampling.BILINEAR)
        image = turn(image)
        if crop is not None:
            image = crop(image)
        pixels = np.asarray(image)
    return (pixels[..., None] if pixels.ndim == 2 else pixels), whole


@contextmanager
def opened_image(encoded: bytes) -> Iterator[tuple[PillowImage.Image, Crop, bool]]:
    """Opens an image: as it is stored, what turns it, and whether its metadata could be read.

    Raises:
        ValueError: as `decode_image`, also of what fails in the context.
    """
    try:
        if encoded.startswith(b"RIFF"):
            _check_size(_webp_size(encoded))
        # Pillow tries all formats in turn, which takes longer than decoding a small image.
        formats = tuple(kind for start, kind in _STARTS.items() if encoded.startswith(start))
        opened, orientation, whole = _read_header(encoded, formats or tuple(FORMATS))
        with opened:
            yield opened, partial(_turned, orientation), whole
    except PillowImage.UnidentifiedImageError as error:
        raise ValueError("its content is not an image") from error
    except PillowImage.DecompressionBombError as error:
        raise ValueError(
            f"it has more than {MOST_PIXELS:,} pixels, which is the limit: make it smaller"
        ) from error
    except Exception as error:  # Pillow's decoders raise many kinds of exceptions
        raise ValueError(str(error) or type(error).__name__) from error


def size_of(encoded: bytes) -> tuple[int, int]:
    """Height and width of an image as `decode_image` gives it, from its header.

    Raises:
        ValueError: as `decode_image`, of what the header tells.
    """
    with opened_image(encoded) as (opened, turn, _):
        width, height = opened.size
        lies = turn(PillowImage.new("1", (1, 2))).size == (2, 1)
    return (width, height) if lies else (height, width)


def _turned(orientation: int, image: PillowImage.Image) -> PillowImage.Image:
    if orientation not in _ORIENTATIONS:
        return image
    return image.transpose(_ORIENTATIONS[orientation])


def _read_header(encoded: bytes, formats: tuple[str, ...]) -> tuple[PillowImage.Image, int, bool]:
    """The opened image, its orientation, and whether its metadata could be read."""
    if not any(mark in encoded for mark in _EXIF):
        return _opened(encoded, formats)
    # Pillow warns of some broken metadata, without the image's name. Warnings are of all threads.
    with _one_at_a_time, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        opened, orientation, whole = _opened(encoded, formats)
    return opened, orientation, whole and not told


def _opened(encoded: bytes, formats: tuple[str, ...]) -> tuple[PillowImage.Image, int, bool]:
    opened = PillowImage.open(io.BytesIO(encoded), formats=formats)
    _check_size(opened.size)
    try:
        return opened, opened.getexif().get(_ORIENTATION_TAG, 1), True
    except Exception:  # Pillow's parsers raise many kinds of exceptions
        return opened, 1, False


def _check_size(size: tuple[int, int]) -> None:
    if size[0] * size[1] > MOST_PIXELS:
        raise ValueError(
            f"it has {size[0]:,} x {size[1]:,} pixels, and the limit is {MOST_PIXELS:,}: make it"
            " smaller"
        )


def _webp_size(encoded: bytes) -> tuple[int, int]:
    """Width and height in the header of a WebP, because opening one allocates the whole image."""
    # RFC 9649, section 2: an extended, lossless or lossy first chunk.
    kind, header = encoded[12:16], encoded[20:30].ljust(10, b"\0")
    if kind == b"VP8X":
        return int.from_bytes(header[4:7], "little") + 1, int.from_bytes(header[7:], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(header[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", header, 6)
    return width & 0x3FFF, height & 0x3FFF


def as_mode(image: PillowImage.Image, mode: str) -> PillowImage.Image:
    """Converts to mode "L", "RGB" or "RGBA". 16-bit grey is scaled, not clipped."""
    if image.mode == mode:
        return image
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65_535:
            raise ValueError(
                f"its values are between {values.min()} and {values.max()}: save it with 8 or 16"
                " bits"
            )
        # Pillow would clip 16-bit values at 255; viewers show the high byte.
        image = PillowImage.fromarray((values >> 8).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("its values are floating point: save it with 8 or 16 bits")
    if image.mode == "P" and "transparency" in image.info:
        # Without this step Pillow warns about palettes with transparency.
        image = image.convert("RGBA")
    return image.convert(mode)


def centre_square(image_size: int, resize: int = 0, *, nearest: bool = False) -> Crop:
    """A crop that resizes the shorter side and cuts out the central square.

    Images are resized bilinearly, masks to the nearest pixels.

    Sizes and places are rounded as in torchvision's `Resize(resize)` and `CenterCrop(image_size)`.
    `resize` is at least `image_size`; 0 means `image_size`.
    """
    resampling = PillowImage.Resampling.NEAREST if nearest else PillowImage.Resampling.BILINEAR
    return partial(_centre_square, image_size, resize or image_size, resampling)


def _centre_square(
    image_size: int,
    shorter: int,
    resampling: PillowImage.Resampling,
    image: PillowImage.Image,
) -> PillowImage.Image:
    width, height = image.size
    if width <= height:
        size = shorter, int(shorter * height / width)
    else:
        size = int(shorter * width / height), shorter
    if size != image.size:
        image = image.resize(size, resampling)
    left, top = round((size[0] - image_size) / 2), round((size[1] - image_size) / 2)
    return image.crop((left, top, left + image_size, top + image_size))


def _within(size: tuple[int, int], at_most: int) -> tuple[int, int]:
    """The size, scaled down if its shorter side is larger than `at_most`."""
    width, height = size
    scale = min(1.0, at_most / min(width, height))
    return round(width * scale), round(height * scale)


def check_shape(what: str, actual: Sequence[int], expected: Sequence[int]) -> None:
    """Raises DataError if an image does not have the size of the others."""
    if tuple(actual) != tuple(expected):
        raise DataError(
            f"{what} has the shape {tuple(actual)}, expected {tuple(expected)}: set one size for"
            " all images with --data.image-size"
        )
