"""Images with what a network says of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure

from cnn_jax.visual.pixels import draw_pixels
from cnn_jax.visual.sheet import Sheet
from cnn_jax.visual.style import CAPTION_SIZE, GRAY, INK, PALETTE, AnyArray
from cnn_jax.visual.text import cut, text_height, text_width, wrap_and_cut

WRONG = PALETTE[1]
_CELL_WIDTH = 2.1
_GAP = 0.16
_MARGIN = 0.15
_CAPTION_LINES = 4
Line = list[tuple[str, bool]]
"""Words, and whether each is right."""


@dataclass(frozen=True)
class CaptionedImage:
    """An image and a caption of it.

    Attributes:
        image: uint8, gray or RGB.
        words: of the caption.
        right: whether each of them is right; () if that is not known.
        reference: what the caption should be, written below it in gray.
    """

    image: UInt8[AnyArray, "height width channels"]
    words: Sequence[str]
    right: Sequence[bool] = ()
    reference: str = ""


def caption_grid(images: Sequence[CaptionedImage], *, title: str, columns: int = 4) -> Figure:
    """Images from left to right and top to bottom, with captions below. Wrong words are orange.

    All cells have the shape of the first image. A caption and a reference have four lines at most.

    Args:
        images: at least one.
        title: names the data set and the split.
        columns: images per row.

    Raises:
        ValueError: there is no image or column, or not for every word whether it is right.
    """
    if not images or columns < 1:
        raise ValueError(f"expected at least one image and column, got {len(images)} and {columns}")
    for one in images:
        if one.right and len(one.right) != len(one.words):
            raise ValueError(
                f"a caption of {len(one.words)} words needs as many values in right, got "
                f"{len(one.right)}"
            )
    columns = min(columns, len(images))
    captions = [list(_lines(one))[:_CAPTION_LINES] for one in images]
    references = [
        wrap_and_cut(one.reference, width=_CELL_WIDTH, size=CAPTION_SIZE, lines=_CAPTION_LINES)
        for one in images
    ]
    line = text_height("x", size=CAPTION_SIZE)
    heights = [
        line * len(caption) + text_height(reference, size=CAPTION_SIZE)
        for caption, reference in zip(captions, references, strict=True)
    ]
    picture = _CELL_WIDTH * images[0].image.shape[0] / images[0].image.shape[1]
    row_height = picture + max(heights) + 2 * _GAP
    rows, width = -(-len(images) // columns), columns * (_CELL_WIDTH + _GAP) - _GAP
    sheet = Sheet(width, rows * row_height - _GAP, title, margin=_MARGIN, gap=_GAP)
    for index, (one, caption, reference) in enumerate(
        zip(images, captions, references, strict=True)
    ):
        row, column = divmod(index, columns)
        left, top = column * (_CELL_WIDTH + _GAP), row * row_height
        axes = sheet.axes(left, top, _CELL_WIDTH, picture)
        draw_pixels(axes, np.asarray(one.image))
        axes.set_axis_off()
        top += picture + _GAP / 2
        for words in caption:
            _write_line(sheet, left, top, words)
            top += line
        for part in reference.split("\n"):
            _write(sheet, left, top, part, GRAY)
            top += line
    return sheet.figure


def _lines(one: CaptionedImage) -> Iterator[Line]:
    """The words of a caption, in lines that fit into a cell."""
    line: Line = []
    for word, right in zip(one.words, one.right or [True] * len(one.words), strict=True):
        word = cut(word, width=_CELL_WIDTH, size=CAPTION_SIZE)
        if line and _width(" ".join([*(before for before, _ in line), word])) > _CELL_WIDTH:
            yield line
            line = []
        line.append((word, right))
    if line:
        yield line


def _write_line(sheet: Sheet, left: float, top: float, line: Line) -> None:
    """Write words side by side, those of one colour together."""
    before = ""
    for right, group in groupby(line, key=lambda pair: pair[1]):
        text = " ".join(word for word, _ in group)
        # The width of a space alone is not measured.
        start = _width(f"{before} {text}") - _width(text) if before else 0.0
        _write(sheet, left + start, top, text, INK if right else WRONG)
        before = f"{before} {text}" if before else text


def _write(sheet: Sheet, left: float, top: float, text: str, color: str) -> None:
    sheet.text(left, top, text, va="top", size=CAPTION_SIZE, color=color, parse_math=False)


def _width(text: str) -> float:
    return text_width(text, size=CAPTION_SIZE)
