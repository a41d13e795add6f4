"""Images whose metadata is broken: their pixels still count."""

import struct
import zlib

_PNG = b"\x89PNG\r\n\x1a\n"
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_START_OF_SCAN, _APP0, _EXIF, _ADOBE, _APP15, _COMMENT = 0xDA, 0xE0, 0xE1, 0xEE, 0xEF, 0xFE


class MetadataWarning(UserWarning):
    """An image is read without a part of its metadata, such as its orientation, which is broken."""


def without_metadata(encoded: bytes) -> bytes:
    """A PNG or JPEG of its pixels and orientation (EXIF) alone; other files as they are."""
    if encoded.startswith(_PNG):
        return _png_pixels(encoded)
    if encoded.startswith(b"\xff\xd8"):
        return _jpeg_pixels(encoded)
    return encoded


def _png_pixels(encoded: bytes) -> bytes:
    # PNG 1.2, section 3.2: length, name, content and checksum of each chunk.
    kept, start = [_PNG], len(_PNG)
    while start + 12 <= len(encoded):
        (length,) = struct.unpack_from(">I", encoded, start)
        end = start + 12 + length
        kind, checksum = encoded[start + 4 : start + 8], encoded[end - 4 : end]
        exif = kind == b"eXIf" and zlib.crc32(encoded[start + 4 : end - 4]).to_bytes(4) == checksum
        if exif or kind in _PIXEL_CHUNKS:
            kept.append(encoded[start:end])
        start = end
    return b"".join(kept)


def _jpeg_pixels(encoded: bytes) -> bytes:
    # JPEG (T.81), annex B: segments of marker and length, before the first scan.
    kept, start = [encoded[:2]], 2
    while start + 4 <= len(encoded) and encoded[start] == 0xFF:
        marker, length = struct.unpack_from(">xBH", encoded, start)
        if marker == _START_OF_SCAN:
            break
        end = start + 2 + length
        # Adobe's segment of 12 bytes tells the colour space.
        needed = marker == _EXIF or (marker == _ADOBE and length >= 14)
        if needed or not (_APP0 <= marker <= _APP15 or marker == _COMMENT):
            kept.append(encoded[start:end])
        start = end
    return b"".join([*kept, encoded[start:]])
