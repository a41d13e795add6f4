"""Save figures to files."""

import os
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from cnn_jax.durable import replacing
from cnn_jax.visual.style import CAPTION_SIZE, GRAY
from cnn_jax.visual.text import text_height, wrap

DOTS_PER_INCH = 150
_MARGIN = 0.15


def save_figure(figure: Figure, path: str | os.PathLike[str], *, heading: str = "") -> None:
    """Write `figure` to `path` at 150 dots per inch, in the format of the suffix.

    The file is replaced atomically: a run that is killed while it draws keeps the earlier figure.
    Missing folders are created.

    Args:
        figure: any figure.
        path: of the file.
        heading: what the figure is drawn from, such as a run and its network. It is written above
            the title, and the file is higher by its lines.

    Raises:
        ValueError: matplotlib does not know the format.
        OSError: the file cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = (float(size) for size in figure.get_size_inches())
    heading = wrap(heading, width=width - 2 * _MARGIN, size=CAPTION_SIZE)
    room = text_height(heading, size=CAPTION_SIZE) + (_MARGIN if heading else 0.0)
    # Above the figure, whose layout does not know of it.
    text = figure.text(
        width / 2,
        height,
        heading,
        transform=figure.dpi_scale_trans,
        ha="center",
        va="bottom",
        size=CAPTION_SIZE,
        color=GRAY,
    )
    text.set_in_layout(False)
    try:
        with replacing(path) as partial:
            figure.savefig(
                partial,
                format=path.suffix.removeprefix(".") or "png",
                dpi=DOTS_PER_INCH,
                bbox_inches=Bbox.from_bounds(0, 0, width, height + room),
            )
    finally:
        text.remove()
