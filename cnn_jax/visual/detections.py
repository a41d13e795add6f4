"""Images with the boxes, names and masks of what was found in them."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

from cnn_jax.visual.pixels import draw_pixels
from cnn_jax.visual.sheet import Sheet, write_below
from cnn_jax.visual.style import CAPTION_SIZE, AnyArray
from cnn_jax.visual.text import text_height, wrap_and_cut

LEAST_SIDE = 640
"""Pixels of the longer side, to which smaller pictures are enlarged, so that names can be read."""
_PIXELS_UP_TO = 64  # smaller images are enlarged as square pixels
_LETTERS = 45  # size of a letter, as a part of the longer side
_LINE = 250  # width of a line, as a part of the longer side
_CELL = 3.2
_GAP = 0.14
_MARGIN = 0.15
_CAPTION_LINES = 2

Picture = UInt8[np.ndarray, "picture_height picture_width 3"]
Rectangle = tuple[float, float, float, float]


def drawn_objects(
    image: UInt8[AnyArray, "height width channels"],
    boxes: Float[AnyArray, "n 4"],
    names: Sequence[str],
    colours: UInt8[np.ndarray, "n 3"],
    masks: Iterable[Bool[np.ndarray, "height width"]] = (),
    *,
    opacity: float = 0.45,
) -> Picture:
    """The image with a box and a name for each object. Names keep clear of each other.

    Where there is no room left, the names of the objects that come first are on top.

    Args:
        image: gray or RGB. A small one is enlarged to `LEAST_SIDE` pixels.
        boxes: (x0, y0, x1, y1) in pixels.
        names: what is written at each box, such as its class and score; "" writes nothing.
        colours: of each box and its mask.
        masks: whether a pixel belongs to each object, in turn; none by default.
        opacity: of the masks' colours over the image.

    Returns:
        The picture, RGB.
    """
    pixels = np.broadcast_to(np.asarray(image), (*image.shape[:2], 3)).copy()
    for mask, colour in zip(masks, colours, strict=False):
        pixels[mask] = np.round((1 - opacity) * pixels[mask] + opacity * colour)
    longer = max(pixels.shape[:2])
    factor = max(1.0, LEAST_SIDE / longer)
    size = [max(1, round(factor * side)) for side in pixels.shape[1::-1]]
    resampling = Image.Resampling
    smooth = resampling.NEAREST if longer <= _PIXELS_UP_TO else resampling.BICUBIC
    picture = Image.fromarray(pixels).resize((size[0], size[1]), smooth)
    places = np.asarray(boxes, np.float64) * np.tile(np.array(size) / pixels.shape[1::-1], 2)
    draw = ImageDraw.Draw(picture)
    line = max(2, round(max(size) / _LINE))
    font = ImageFont.truetype(findfont("DejaVu Sans"), round(max(size) / _LETTERS))
    first_last = list(zip(places.tolist(), colours.tolist(), strict=True))
    for (x0, y0, x1, y1), colour in reversed(first_last):
        # A line lies within its box, which may have no area after rounding, and has white borders.
        outer = x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)
        wider = x0 - 1, y0 - 1, outer[2] + 1, outer[3] + 1
        draw.rectangle(wider, outline="white", width=line + 2)
        draw.rectangle(outer, outline=tuple(colour), width=line)
    texts = []
    taken: list[Rectangle] = []
    for name, (box, colour) in zip(names, first_last, strict=True):
        left, _, right, bottom = font.getbbox(name, anchor="la")
        room = right - left + 2 * line, bottom + line
        where = _free_place(box, room, (size[0], size[1]), taken)
        if name:
            taken.append(where)
            texts.append((where, name, colour))
    for where, name, colour in reversed(texts):
        dark = np.dot(colour, (0.299, 0.587, 0.114)) < 140
        draw.rectangle(where, fill=tuple(colour))
        draw.text((where[0] + line, where[1]), name, "white" if dark else "black", font)
    return np.asarray(picture)


def _free_place(
    box: Sequence[float],
    room: tuple[float, float],
    size: tuple[int, int],
    taken: Sequence[Rectangle],
) -> Rectangle:
    """The first place for a name at its box that is free, or else the one that is most so."""
    best, least = None, np.inf
    for x, y in _corners(box, *room):
        x = min(max(x, 0), max(size[0] - 1 - room[0], 0))
        y = min(max(y, 0), max(size[1] - 1 - room[1], 0))
        where = x, y, x + room[0], y + room[1]
        common = sum(_common_area(where, other) for other in taken)
        if common < least:
            best, least = where, common
        if common == 0:
            break
    assert best is not None
    return best


def _corners(box: Sequence[float], width: float, height: float) -> Iterator[tuple[float, float]]:
    """Upper left corners of a name: above its box, in it, below it, and beside it."""
    x0, y0, x1, y1 = box
    for y in (y0 - height, y0, y0 + height, y1, y1 - height):
        yield x0, y
        yield x1 - width, y
    for y in (y0, y1 - height):
        yield x1, y
        yield x0 - width, y


def _common_area(one: Rectangle, other: Rectangle) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return max(across, 0) * max(down, 0)


def picture_sheet(
    pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    captions: Sequence[str],
    *,
    title: str,
    columns: int = 2,
) -> Figure:
    """Pictures of any shapes, from left to right and top to bottom, each with a caption.

    Args:
        pictures: at least one.
        captions: written below the pictures, in at most two lines each.
        title: names the network.
        columns: pictures per row.

    Raises:
        ValueError: there is no picture or column.
    """
    if not pictures or columns < 1:
        raise ValueError(f"expected pictures and columns, got {len(pictures)} and {columns}")
    columns = min(columns, len(pictures))
    texts = [
        wrap_and_cut(one, width=_CELL, size=CAPTION_SIZE, lines=_CAPTION_LINES) for one in captions
    ]
    sizes = [np.array(one.shape[:2]) * _CELL / max(one.shape[:2]) for one in pictures]
    rows = [
        range(len(pictures))[start : start + columns] for start in range(0, len(pictures), columns)
    ]
    text = max(text_height(one, size=CAPTION_SIZE) for one in texts)
    heights = [max(sizes[i][0] for i in row) + text + _GAP for row in rows]
    width = columns * (_CELL + _GAP) - _GAP
    sheet = Sheet(width, float(sum(heights)) - _GAP, title, margin=_MARGIN, gap=_GAP)
    top = 0.0
    for row, of_row in zip(rows, heights, strict=True):
        for column, index in enumerate(row):
            height, across = sizes[index].tolist()
            left = column * (_CELL + _GAP) + (_CELL - across) / 2
            axes = sheet.axes(left, top + of_row - text - _GAP - height, across, height)
            draw_pixels(axes, pictures[index])
            axes.set_axis_off()
            write_below(axes, texts[index])
        top += of_row
    return sheet.figure
