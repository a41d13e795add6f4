"""A user's own image files: the good ones are read, the bad ones are named with the reason."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image as PillowImage
from rich.console import Console

from cnn_jax.data.decode import decode_image
from cnn_jax.errors import UserError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""What is taken for an image in a folder; a file that is named is read whatever its name."""
AT_MOST = 2048
"""Pixels of the shorter side; larger pictures are reduced to it while they are read."""
STRIP = 50
"""A picture that is more than so many times as long as it is wide is none for a network."""

ReadImage = tuple[Path, UInt8[np.ndarray, "height width 3"]]
BadImage = tuple[Path, str]


def find_images(paths: Sequence[str | Path]) -> list[Path]:
    """Image files in the order of the arguments; folders are searched with all they contain.

    Files and folders whose name begins with a dot are left out of a folder. What is not there,
    and a folder without images, stays in the list, for `read_images` to say so.
    """
    found: list[Path] = []
    for path in (Path(path).expanduser() for path in paths):
        found.extend((_images_in(path) if path.is_dir() else []) or [path])
    return list(dict.fromkeys(found))


def _images_in(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def read_images(paths: Sequence[Path]) -> tuple[list[ReadImage], list[BadImage]]:
    """The images of files as RGB, and for each file that has none the reason.

    Gray, palette and CMYK become RGB, 16 bits are scaled to 8, transparency is left out, and the
    EXIF orientation is applied. All images are in memory at once: give many files in portions.

    Args:
        paths: files, as `find_images` gives them.

    Returns:
        Pairs of path and image (a shorter side of more than `AT_MOST` pixels is reduced to
        that), and pairs of path and reason, both in the order of `paths`.
    """
    good: list[ReadImage] = []
    bad: list[BadImage] = []
    for path in paths:
        try:
            good.append((path, _read(path)))
        except OSError as error:
            bad.append((path, error.strerror or str(error)))
        except ValueError as error:
            bad.append((path, str(error)))
    return good, bad


def _read(path: Path) -> UInt8[np.ndarray, "height width 3"]:
    if path.is_dir():
        raise ValueError(f"the folder holds no images ({', '.join(SUFFIXES)})")
    encoded = path.read_bytes()
    with warnings.catch_warnings():
        # Pillow's at half of its limit: such a picture is large, and is read all the same.
        warnings.simplefilter("ignore", PillowImage.DecompressionBombWarning)
        image = decode_image(encoded, 3, at_most=AT_MOST)
    height, width = image.shape[:2]
    if max(height, width) > STRIP * min(height, width):
        # Its shorter side would be enlarged, and the longer one with it.
        raise ValueError(f"it is a strip of {width}x{height} pixels: cut out the part to be seen")
    return image


def show_bad(console: Console, bad: Sequence[BadImage]) -> None:
    """Print the files that could not be read, each with the reason; nothing where there is none."""
    if bad:
        console.print(f"[yellow]{_files(len(bad))} could not be read:[/]", highlight=False)
        console.print(_listed(bad), markup=False, highlight=False, soft_wrap=True)


def check_any(good: int, bad: Sequence[BadImage]) -> None:
    """Raise UserError, which lists the bad ones, where there is no good image at all."""
    if not good:
        raise UserError(f"none of {_files(len(bad))} could be read as an image:\n{_listed(bad)}")


def _files(number: int) -> str:
    return f"{number} file{'s' if number > 1 else ''}"


def _listed(bad: Sequence[BadImage]) -> str:
    return "\n".join(f"  {path}: {reason}" for path, reason in bad)
