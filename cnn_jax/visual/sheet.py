"""Figures whose axes are placed by hand."""

from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnn_jax.visual.style import CAPTION_SIZE, INK, TITLE_SIZE
from cnn_jax.visual.text import text_height, wrap


class Sheet:
    """A figure with a title and room for axes below it, in inches from the upper left corner.

    It is for many axes, or axes of different shapes. A constrained layout of a hundred axes takes
    seconds.
    """

    def __init__(
        self,
        width: float,
        height: float,
        title: str,
        *,
        margin: float,
        gap: float,
        align: Literal["left", "center"] = "center",
    ) -> None:
        """Make the figure.

        Args:
            width: width of the room for axes, and of the title.
            height: height of the room for axes.
            title: wrapped to the width.
            margin: around title and axes.
            gap: between the title and the axes.
            align: horizontal position of the title.
        """
        title = wrap(title, width=width, size=TITLE_SIZE)
        self._margin = margin
        self._top = margin + text_height(title, size=TITLE_SIZE) + (gap if title else 0)
        self._width, self._height = width + 2 * margin, self._top + height + margin
        self.figure = Figure(figsize=(self._width, self._height), facecolor="white")
        self.figure.text(
            0.5 if align == "center" else margin / self._width,
            1 - margin / self._height,
            title,
            ha=align,
            va="top",
            size=TITLE_SIZE,
            color=INK,
        )

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Add axes."""
        return self.figure.add_axes(
            (
                (self._margin + left) / self._width,
                1 - (self._top + top + height) / self._height,
                width / self._width,
                height / self._height,
            )
        )

    def text(self, left: float, top: float, text: str, **properties: Any) -> None:
        """Add text at a place, aligned at its left."""
        self.figure.text(
            (self._margin + left) / self._width,
            1 - (self._top + top) / self._height,
            text,
            ha="left",
            **{"color": INK} | properties,
        )


def write_below(axes: Axes, caption: str) -> None:
    """Write a caption below axes, centred."""
    axes.annotate(
        caption,
        (0.5, 0),
        xytext=(0, -2),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="center",
        va="top",
        size=CAPTION_SIZE,
        color=INK,
    )
