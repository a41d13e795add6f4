"""Image files of changed bytes are read or told, soon; large ones are told before they grow."""

import io
import random

import numpy as np
import pytest
from PIL import Image, features

from cnn_jax.data.decode import decode_image
from tests.data.conftest import noise
from tests.limits import run_limited, within

KINDS = ["jpeg", "png", "webp", "bmp", "gif", "tiff", "ppm", "avif"]


def encoded(kind: str) -> bytes:
    if kind == "avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    file = io.BytesIO()
    Image.fromarray(noise(1, (20, 30, 3))[0]).save(file, kind)
    return file.getvalue()


# Libraries of formats write warnings, and Pillow warns of large images.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_changed_bytes_are_told_or_harmless(kind):
    whole, choose = encoded(kind), random.Random(0)
    with within(60):
        for _ in range(150):
            content = bytearray(whole)
            for _ in range(choose.choice([1, 2, 5, 20])):
                end = choose.choice([80, len(content)])
                content[choose.randrange(min(end, len(content)))] = choose.choice([0, 127, 255])
            if choose.random() < 0.2:
                content = content[: choose.randrange(len(content))]
            try:
                decode_image(bytes(content), 3, at_most=16)
            except ValueError as error:
                assert str(error)


@pytest.mark.parametrize("kind", ["webp", "png", "gif", "tiff"])
def test_an_image_that_grows_is_told_in_little_memory(tmp_path, kind):
    side = 16_000
    if kind == "webp":
        # The header of a lossless image of 16,000 x 16,000 pixels, and nothing else.
        bits = (side - 1) | (side - 1) << 14
        content = (
            b"VP8L" + (10).to_bytes(4, "little") + b"\x2f" + bits.to_bytes(4, "little") + bytes(5)
        )
        (tmp_path / "image").write_bytes(
            b"RIFF" + (len(content) + 4).to_bytes(4, "little") + b"WEBP" + content
        )
    else:
        image = Image.fromarray(np.zeros((side, side), np.uint8))
        image.save(
            tmp_path / "image", kind, **({"compression": "tiff_lzw"} if kind == "tiff" else {})
        )
    assert (tmp_path / "image").stat().st_size < 3e6
    code = """
import sys
from cnn_jax.data.decode import decode_image
try:
    decode_image(open(sys.argv[1], "rb").read(), 3)
except ValueError as error:
    print(error)
"""
    printed = run_limited(code, str(tmp_path / "image"), gigabytes=2)
    assert "134,217,728" in printed  # the limit
