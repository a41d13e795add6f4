import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import DataError
from cnn_jax.data.decode import centre_square, check_shape, decode_image
from cnn_jax.data.image_files import SUFFIXES
from cnn_jax.data.metadata import MetadataWarning
from tests.data.conftest import noise, png


def encoded(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **({"lossless": True} if kind == "webp" else {}))
    return file.getvalue()


@pytest.mark.parametrize("kind", ["png", "webp", "bmp"])
def test_lossless_formats_come_back(kind):
    image = noise(1)[0]
    assert np.array_equal(decode_image(encoded(Image.fromarray(image), kind), 3), image)


def test_grey_and_colour():
    grey = noise(1, (6, 5, 1))[0]
    assert np.array_equal(decode_image(png(grey), 1), grey)
    assert np.array_equal(decode_image(png(grey), 3), np.repeat(grey, 3, axis=-1))
    assert decode_image(png(noise(1)[0]), 1).shape == (6, 5, 1)
    assert decode_image(png(noise(1)[0]), 4).shape == (6, 5, 4)


def test_sixteen_bits_are_scaled():
    wide = (np.arange(30, dtype=np.uint16) * 2_000).reshape(6, 5)
    image = decode_image(encoded(Image.fromarray(wide), "png"), 3)
    assert np.array_equal(image[..., 0], (wide >> 8).astype(np.uint8))


def test_cmyk_palette_and_transparency_become_rgb():
    for mode in ("CMYK", "P", "RGBA", "LA", "1"):
        image = Image.new("RGB", (5, 6), (255, 255, 255)).convert(mode)
        pixels = decode_image(encoded(image, "tiff" if mode == "CMYK" else "png"), 3)
        assert pixels.shape == (6, 5, 3) and pixels.min() == 255


@pytest.mark.parametrize(("width", "height"), [(40, 20), (20, 40), (7, 9), (16, 16)])
def test_resize_keeps_the_centre_square(width, height):
    pixels = decode_image(
        encoded(Image.new("RGB", (width, height), (9, 8, 7)), "png"), 3, centre_square(16)
    )
    assert pixels.shape == (16, 16, 3)
    assert np.all(pixels == [9, 8, 7])


def test_the_crop_is_central():
    image = np.zeros((16, 48, 3), np.uint8)
    image[:, 16:32] = 200
    assert np.all(decode_image(png(image), 3, centre_square(16)) == 200)


def test_shrinking_is_antialiased():
    checks = np.indices((64, 64)).sum(0) % 2 * 255
    image = np.repeat(checks[..., None], 3, axis=-1).astype(np.uint8)
    assert (
        np.abs(decode_image(png(image), 3, centre_square(16))[2:-2, 2:-2].astype(int) - 127).max()
        < 10
    )


def test_broken_bytes_raise_value_errors():
    whole = encoded(Image.fromarray(noise(1, (64, 64, 3))[0]), "jpeg")
    with pytest.raises(ValueError, match="empty"):
        decode_image(b"", 3)
    with pytest.raises(ValueError, match="not an image"):
        decode_image(b"no image at all", 3)
    with pytest.raises(ValueError, match="truncated"):
        decode_image(whole[: len(whole) // 2], 3)
    for kind in ("png", "jpeg", "webp"):
        whole = encoded(Image.fromarray(noise(1, (64, 64, 3))[0]), kind)
        for length in (1, 5, 20, 40, len(whole) // 2):
            with pytest.raises(ValueError):
                decode_image(whole[:length], 3)


def test_check_shape():
    check_shape("it", (4, 4, 3), (4, 4, 3))
    with pytest.raises(DataError, match=r"it has the shape \(4, 5, 3\), expected \(4, 4, 3\): set"):
        check_shape("it", (4, 5, 3), (4, 4, 3))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_exif_says(orientation):
    # Where the upper left pixel of what was photographed is stored (EXIF 2.3, section 4.6.4).
    top, left, transposed = {
        1: (True, True, False),
        2: (True, False, False),
        3: (False, False, False),
        4: (False, True, False),
        5: (True, True, True),
        6: (False, True, True),
        7: (False, False, True),
        8: (True, False, True),
    }[orientation]
    shown = noise(1, (5, 7, 3))[0]
    stored = shown.swapaxes(0, 1) if transposed else shown
    stored = stored[:: 1 if top else -1, :: 1 if left else -1]
    exif, file = Image.Exif(), io.BytesIO()
    exif[274] = orientation
    Image.fromarray(stored).save(file, "png", exif=exif)
    assert np.array_equal(decode_image(file.getvalue(), 3), shown)


def test_at_most_reduces_in_proportion():
    whole = encoded(Image.new("RGB", (200, 100), (9, 80, 7)), "jpeg")
    for at_most, shape in ((40, (40, 80, 3)), (100, (100, 200, 3)), (300, (100, 200, 3))):
        pixels = decode_image(whole, 3, at_most=at_most)
        assert pixels.shape == shape
        assert np.abs(pixels.astype(int) - (9, 80, 7)).max() <= 3


def test_values_that_are_no_16_bits_are_refused():
    wide = np.array([[0, 40_000]], np.int32)
    image = decode_image(encoded(Image.fromarray(wide), "tiff"), 1)
    assert image.ravel().tolist() == [0, 40_000 >> 8]
    with pytest.raises(ValueError, match="between 0 and 80000: save it with 8 or 16 bits"):
        decode_image(encoded(Image.fromarray(2 * wide), "tiff"), 3)
    with pytest.raises(ValueError, match="floating point"):
        decode_image(encoded(Image.fromarray(wide.astype(np.float32)), "tiff"), 3)


def test_palettes_with_transparency_become_rgb(recwarn):
    image = Image.new("P", (5, 6), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    file = io.BytesIO()
    image.save(file, "png", transparency=bytes([0, 128]))
    assert np.all(decode_image(file.getvalue(), 3) == (200, 100, 50))
    assert not recwarn.list


def test_too_many_pixels_name_the_limit(monkeypatch):
    monkeypatch.setattr("cnn_jax.data.decode.MOST_PIXELS", 399)
    with pytest.raises(ValueError, match="it has 20 x 20 pixels, and the limit is 399"):
        decode_image(png(noise(1, (20, 20, 3))[0]), 3)


@pytest.mark.parametrize("options", [{"lossless": True}, {}, {"exif": b"Exif\0\0"}])
def test_the_size_of_a_webp_is_known_before_it_is_opened(monkeypatch, options):
    file = io.BytesIO()
    Image.fromarray(noise(1, (20, 33, 3))[0]).save(file, "webp", **options)
    monkeypatch.setattr("cnn_jax.data.decode.MOST_PIXELS", 20 * 33)
    assert decode_image(file.getvalue(), 3).shape == (20, 33, 3)
    monkeypatch.setattr("cnn_jax.data.decode.MOST_PIXELS", 20 * 33 - 1)
    monkeypatch.setattr("PIL.Image.open", None)
    with pytest.raises(ValueError, match="it has 33 x 20 pixels"):
        decode_image(file.getvalue(), 3)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "bmp", "gif", "tiff", "ppm", "avif"])
def test_every_format_is_read(kind):
    if kind == "avif" and ".avif" not in SUFFIXES:
        pytest.skip("Pillow reads no AVIF here")
    image = Image.new("RGB", (8, 6), (200, 100, 50))
    file = io.BytesIO()
    image.save(file, kind)
    pixels = decode_image(file.getvalue(), 3)
    assert pixels.shape == (6, 8, 3) and np.abs(pixels.astype(int) - (200, 100, 50)).max() <= 4


def test_the_first_frame_of_an_animation_is_read():
    first, second = (Image.new("RGB", (8, 6), colour) for colour in ((255, 0, 0), (0, 0, 255)))
    file = io.BytesIO()
    first.save(file, "gif", save_all=True, append_images=[second])
    assert np.all(decode_image(file.getvalue(), 3) == (255, 0, 0))


def test_postscript_is_never_run(monkeypatch):
    def run(*arguments, **options):
        raise AssertionError("a process was started")

    monkeypatch.setattr("subprocess.Popen", run)
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    with pytest.raises(ValueError, match="not an image"):
        decode_image(script, 3)


def chunk(kind: bytes, content: bytes, checksum: int | None = None) -> bytes:
    checksum = zlib.crc32(kind + content) if checksum is None else checksum
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


PIXELS = noise(1, (6, 5, 3))[0]


@pytest.mark.parametrize(
    "broken",
    [
        chunk(b"eXIf", b"no TIFF"),
        chunk(b"tEXt", b"Raw profile type exif\0\nexif\n  4\nzzzz"),
        chunk(b"zTXt", b"a\0\0" + zlib.compress(b"a" * 3_000_000)),
        chunk(b"tEXt", b"a\0b", checksum=1),
        chunk(b"iCCP", b"a\0\5broken"),
        chunk(b"gAMA", b"\0"),
    ],
    ids=["exif", "hexadecimal", "bomb", "checksum", "profile", "gamma"],
)
def test_broken_metadata_of_a_png_is_named_and_its_pixels_count(broken):
    whole = png(PIXELS)
    with pytest.warns(MetadataWarning, match="metadata of a.png is broken") as caught:
        pixels = decode_image(whole[:33] + broken + whole[33:], 3, name="a.png")
    assert np.array_equal(pixels, PIXELS) and len(caught) == 1


def test_broken_metadata_of_other_formats_is_named_and_their_pixels_count():
    image, jpeg = Image.fromarray(PIXELS), io.BytesIO()
    image.save(jpeg, "jpeg")
    whole = jpeg.getvalue()
    for marker, content in ((0xE0, b"JFIF"), (0xE2, b"ICC_PROFILE\0"), (0xEE, b"Adobe")):
        segment = struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
        with pytest.warns(MetadataWarning, match="metadata of b.jpg"):
            pixels = decode_image(whole[:2] + segment + whole[2:], 3, name="b.jpg")
        assert np.array_equal(pixels, decode_image(whole, 3))
    webp = io.BytesIO()
    image.save(webp, "webp", lossless=True, exif=b"Exif\0\0no TIFF at all")
    with pytest.warns(MetadataWarning, match="metadata of c.webp"):
        assert np.array_equal(decode_image(webp.getvalue(), 3, name="c.webp"), PIXELS)


def test_the_colours_of_a_cmyk_jpeg_survive_broken_metadata():
    file = io.BytesIO()
    Image.new("CMYK", (8, 8), (0, 200, 100, 20)).save(file, "jpeg")
    whole = file.getvalue()
    with pytest.warns(MetadataWarning):
        pixels = decode_image(whole[:2] + b"\xff\xe0\0\6JFIF" + whole[2:], 3)
    assert np.array_equal(pixels, decode_image(whole, 3))


def test_the_orientation_survives_other_broken_metadata():
    exif, turned = Image.Exif(), np.rot90(PIXELS, -1)
    exif[274] = 6
    for kind, at, broken in (
        ("png", 33, chunk(b"tEXt", b"a\0b", checksum=1)),
        ("jpeg", 2, b"\xff\xe2\0\x0eICC_PROFILE\0"),
    ):
        file = io.BytesIO()
        Image.fromarray(PIXELS).save(file, kind, exif=exif)
        whole = file.getvalue()
        with pytest.warns(MetadataWarning):
            pixels = decode_image(whole[:at] + broken + whole[at:], 3)
        assert pixels.shape == turned.shape and np.array_equal(pixels, decode_image(whole, 3))


@pytest.mark.filterwarnings("error")
def test_broken_pixels_stay_an_error():
    whole = png(noise(1, (30, 30, 3))[0])
    broken = whole[:33] + chunk(b"gAMA", b"\0") + whole[33:]
    with pytest.raises(ValueError, match="Truncated gAMA"):
        decode_image(broken[: len(broken) // 2], 3)
    webp = encoded(Image.fromarray(noise(1, (64, 64, 3))[0]), "webp")
    with pytest.raises(ValueError):
        decode_image(webp[: len(webp) // 2], 3)


def test_what_pillow_only_warns_of_is_named_too(recwarn):
    exif = b"Exif\0\0II*\0\xff\xff\xff\x7f"  # the place of its entries is beyond its end
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "JPEG", exif=exif)
    assert decode_image(file.getvalue(), 3, name="d.jpg").shape == (8, 8, 3)
    (told,) = recwarn
    assert told.category is MetadataWarning and "metadata of d.jpg" in str(told.message)
