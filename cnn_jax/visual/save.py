"""Save figures to files."""

import os
from pathlib import Path

from matplotlib.figure import Figure

DOTS_PER_INCH = 150


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write `figure` to `path` at 150 dots per inch, in the format of the suffix.

    The file is replaced atomically: a run that is killed while it draws keeps the earlier figure.
    Missing folders are created.

    Raises:
        ValueError: matplotlib does not know the format.
        OSError: the file cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        figure.savefig(partial, format=path.suffix.removeprefix(".") or "png", dpi=DOTS_PER_INCH)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
