"""Image files: their formats, where they lie in a folder, and their bytes."""

import os
import stat
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from PIL import features

from cnn_jax.data.errors import LISTED, some_of

FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "AVIF": (".avif",),
}
"""The formats that are read, by Pillow's names, and their suffixes. Of several frames or pages the
first is read. Other formats that Pillow knows are not tried: it runs Ghostscript for PostScript."""


def _can_be_read(kind: str) -> bool:
    if kind != "AVIF":  # the only one that a usual Pillow may lack
        return True
    return "avif" in features.modules and bool(features.check("avif"))


SUFFIXES = frozenset(
    suffix for kind, names in FORMATS.items() if _can_be_read(kind) for suffix in names
)
"""The suffixes, in lower case, of the images in a folder."""


def images_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """All image files below a folder at any depth, and all other files. Hidden ones are left out.

    Images are told by their suffix. A link to a folder is not followed; it is one of the others,
    and so is a folder that cannot be opened.
    """
    images: list[Path] = []
    others: list[Path] = []
    errors: list[OSError] = []
    for parent, folders, files in os.walk(folder, onerror=errors.append):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in (*files, *links):
            if not name.startswith("."):
                image = os.path.splitext(name)[1].lower() in SUFFIXES and name not in links
                (images if image else others).append(Path(parent, name))
    others.extend(Path(error.filename) for error in errors)
    return sorted(images), sorted(others)


def not_read(others: Sequence[Path], where: str) -> tuple[str, ...]:
    """A note that counts files by their suffix and names the first ones."""
    if not others:
        return ()
    counts = Counter(path.suffix.lower() or "no suffix" for path in others)
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in counts.most_common(LISTED))
    names = some_of([str(path) for path in others])
    return (f"files in {where} that are not read: {len(others):,} ({kinds})\n  {names}",)


def listed_suffixes() -> str:
    """The suffixes for a message."""
    return ", ".join(sorted(SUFFIXES))


def read_file(path: Path) -> bytes:
    """The bytes of a regular file.

    Raises:
        ValueError: it is a pipe or a device, which might never end.
        OSError: it cannot be read.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is not a regular file")
    return path.read_bytes()
