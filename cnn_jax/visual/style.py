"""What all figures have in common: colours, sizes, titles."""

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.textpath import text_to_path

AnyArray = np.ndarray | jax.Array

# Okabe and Ito's palette, which is told apart with any colour vision; its yellow is too pale for
# lines and its black is kept for text.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")

TITLE_SIZE = 12.0
LABEL_SIZE = 10.0
TICK_SIZE = 9.0
CAPTION_SIZE = 8.0
INK = "#222222"
GRAY = "#888888"

_LINE_HEIGHT = 1.35  # in units of the font size
_PAD = 0.09  # around every axes, in inches


def wrap(text: str, *, width: float, size: float) -> str:
    """Breaks every line of `text` so that it fits into `width` inches at `size` points.

    Lines break between words; only a word that is wider than a line is broken itself.
    """
    font = FontProperties(size=size)

    def fits(line: str) -> bool:
        return text_to_path.get_text_width_height_descent(line, font, ismath=False)[0] <= 72 * width

    lines = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split():
            if line and fits(f"{line} {word}"):
                line = f"{line} {word}"
                continue
            if line:
                lines.append(line)
            line = ""
            for character in word:
                if line and not fits(line + character):
                    lines.append(line)
                    line = ""
                line += character
        lines.append(line)
    return "\n".join(lines)


def text_height(text: str, *, size: float) -> float:
    """Height of the lines of `text` at `size` points, in inches."""
    return (text.count("\n") + 1) * size * _LINE_HEIGHT / 72 if text else 0.0


def new_figure(width: float, height: float, title: str) -> Figure:
    """A figure with room for axes of `width` x `height` inches in all, and `title` above them."""
    lines = wrap(title, width=width - 0.3, size=TITLE_SIZE)
    figure = Figure(
        figsize=(width, height + text_height(lines, size=TITLE_SIZE)),
        layout=ConstrainedLayoutEngine(w_pad=_PAD, h_pad=_PAD),
        facecolor="white",
    )
    if lines:
        figure.suptitle(lines, fontsize=TITLE_SIZE, color=INK)
    return figure


def plain_axes(axes: Axes, *, xlabel: str, ylabel: str) -> None:
    """Gives axes of curves their labels, a faint grid and no frame above and to the right."""
    axes.set_xlabel(xlabel, fontsize=LABEL_SIZE, color=INK)
    axes.set_ylabel(ylabel, fontsize=LABEL_SIZE, color=INK)
    axes.tick_params(labelsize=TICK_SIZE, colors=INK, which="both")
    axes.grid(True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
