"""Read a user's image files, and report the unreadable ones."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image as PillowImage
from rich.console import Console

from cnn_jax.data.decode import decode_image, size_of
from cnn_jax.data.image_files import images_below, listed_suffixes, read_file
from cnn_jax.errors import UserError
from experiments.tools.messages import say

AT_MOST = 2048
"""Pixels of the shorter side. Larger images are reduced to it while reading."""
STRIP = 50
"""Largest ratio of the sides of an image."""

ReadImage = tuple[Path, UInt8[np.ndarray, "height width 3"]]
BadImage = tuple[Path, str]


def find_images(paths: Sequence[str | Path]) -> list[Path]:
    """Image files in the order of the arguments. Folders are searched recursively.

    In folders, files with a suffix of `cnn_jax.data.image_files` are found, hidden ones excepted.
    Missing paths and folders without images stay in the list, and `read_images` reports them.

    Raises:
        UserError: there are no paths.
    """
    if not paths:
        raise UserError("no images: name files or folders")
    found: list[Path] = []
    for path in (Path(path).expanduser() for path in paths):
        found.extend((images_below(path)[0] if path.is_dir() else []) or [path])
    return list(dict.fromkeys(found))


def read_images(paths: Sequence[Path]) -> tuple[list[ReadImage], list[BadImage]]:
    """Read images as RGB.

    Gray, palette and CMYK images are converted to RGB, 16 bits are scaled to 8, transparency is
    dropped, and the EXIF orientation is applied. If the shorter side is longer than `AT_MOST`
    pixels, the image is reduced. All images are in memory at once.

    Args:
        paths: files from `find_images`.

    Returns:
        Pairs of path and image for the readable files, and pairs of path and reason for the others,
        both in the order of `paths`.
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
        raise ValueError(f"the folder holds no images ({listed_suffixes()})")
    encoded = read_file(path)
    with warnings.catch_warnings():
        # Pillow warns at half of its size limit; these images are read.
        warnings.simplefilter("ignore", PillowImage.DecompressionBombWarning)
        image = decode_image(encoded, 3, at_most=AT_MOST, name=str(path))
    height, width = image.shape[:2]
    if max(height, width) > STRIP * min(height, width):
        # Resizing the shorter side would make the image huge.
        raise ValueError(f"it is a strip of {width}x{height} pixels: crop it first")
    return image


def stored_size(path: Path, image: UInt8[np.ndarray, "height width 3"]) -> tuple[int, int]:
    """Height and width of the file of an image that `read_images` may have reduced."""
    height, width = image.shape[:2]
    return (height, width) if min(height, width) < AT_MOST else size_of(read_file(path))


def show_bad(console: Console, bad: Sequence[BadImage]) -> None:
    """Print the unreadable files with the reasons, if there are any."""
    if bad:
        console.print(f"[yellow]{_files(len(bad))} could not be read:[/]", highlight=False)
        say(console, _listed(bad))


def check_any(good: int, bad: Sequence[BadImage]) -> None:
    """Raise a UserError that lists the unreadable files if no image could be read."""
    if not good:
        raise UserError(f"none of {_files(len(bad))} could be read as an image:\n{_listed(bad)}")


def _files(number: int) -> str:
    return f"{number} file{'s' if number > 1 else ''}"


def _listed(bad: Sequence[BadImage]) -> str:
    return "\n".join(f"  {path}: {reason}" for path, reason in bad)
