"""Writing a figure to a file."""

import os
from pathlib import Path

from matplotlib.figure import Figure

DOTS_PER_INCH = 150


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Writes `figure` to `path`, in the format of its suffix, at 150 dots an inch.

    The file appears whole or not at all: a run that is killed while it draws leaves the earlier
    figure. Missing folders are made.

    Raises:
        ValueError: matplotlib knows no format of that suffix.
        OSError: the place cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        figure.savefig(partial, format=path.suffix.removeprefix(".") or "png", dpi=DOTS_PER_INCH)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
