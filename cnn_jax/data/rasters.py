"""Pixels of the objects in COCO's annotations: polygons and run lengths.

Source: pycocotools, `common/maskApi.c`, whose pixels these are.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Int32

Mask = Bool[np.ndarray, "height width"]
FINER = 5
"""A polygon's border is followed in steps of this part of a pixel."""


def polygon_mask(points: Float[np.ndarray, "n 2"], size: tuple[int, int]) -> Mask:
    """The pixels of a polygon with corners (x, y), in an image of `size` (height, width).

    In the middle of each column, the pixels between two crossings of the border are inside.
    """
    height, width = size
    corners = np.trunc(np.asarray(points, np.float64) * FINER + 0.5)
    sides = zip(corners, np.roll(corners, -1, axis=0), strict=True)
    x, y = np.concatenate([_line(*side) for side in sides]).T
    # Between two points of different columns of the fine grid, the border crosses a middle or not.
    crossed = np.flatnonzero(x[1:] != x[:-1])
    column = (np.minimum(x[crossed], x[crossed + 1]) + 0.5) / FINER - 0.5
    row = (np.minimum(y[crossed], y[crossed + 1]) + 0.5) / FINER - 0.5
    middle = (column == np.floor(column)) & (column >= 0) & (column < width)
    row = np.ceil(np.clip(row[middle], 0, height))
    places = (column[middle] * height + row).astype(np.int64)
    crossings = np.bincount(places, minlength=height * width + 1)[: height * width]
    return (np.cumsum(crossings) % 2 == 1).reshape(width, height).T


def _line(
    start: Float[np.ndarray, "2"], end: Float[np.ndarray, "2"]
) -> Float[np.ndarray, "points 2"]:
    """The points of the fine grid between two corners, one for each step along the longer side."""
    along = int(np.argmax(np.abs(end - start)))  # 0 for a diagonal
    steps = int(abs(end - start)[along])
    # Rounding is from the smaller end, so that both directions have the same points.
    low, high = (start, end) if start[along] <= end[along] else (end, start)
    slope = (high - low) / max(steps, 1)
    points = np.trunc(low + slope * np.arange(steps + 1)[:, None] + [[0.5, 0.5]])
    points[:, along] = low[along] + np.arange(steps + 1)
    return points if low is start else points[::-1]


def run_length_mask(counts: Sequence[int], size: tuple[int, int]) -> Mask:
    """The pixels of run lengths: of pixels outside and inside in turn, down column after column."""
    height, width = size
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, np.array(counts, np.int64)).reshape(width, height).T


def check_run_lengths(counts: Sequence[int], size: tuple[int, int]) -> None:
    """Checks that run lengths are those of an image.

    Raises:
        ValueError: negative lengths, or ones that do not add up to the pixels of the image.
    """
    pixels = size[0] * size[1]
    if min(counts, default=0) < 0 or sum(counts) != pixels:
        raise ValueError(f"its run lengths add up to {sum(counts):,}, expected {pixels:,} pixels")


def run_lengths(mask: Mask) -> list[int]:
    """The run lengths of a mask, which `run_length_mask` makes of them again."""
    pixels = mask.T.ravel()
    # Of runs outside and inside in turn, the first one is outside, and may be empty.
    changes = np.flatnonzero(np.diff(pixels, prepend=False))
    return np.diff([0, *changes, pixels.size]).tolist()


def compressed(counts: Sequence[int]) -> str:
    """Run lengths in COCO's compressed form, the inverse of `decompressed`."""
    text = ""
    for place, count in enumerate(counts):
        number = count - counts[place - 2] if place > 2 else count
        while True:
            bits, number = number & 31, number >> 5
            # The last group has the sign in its highest bit.
            last = number == (-1 if bits & 16 else 0)
            text += chr(48 + (bits if last else bits | 32))
            if last:
                break
    return text


def decompressed(text: str) -> list[int]:
    """The run lengths of COCO's compressed form.

    Each number has groups of 5 bits, the lowest first, and 32 says that more follow. From the
    fourth on it is the difference to the last but one.

    Raises:
        ValueError: characters of another form, or an end inside of a number.
    """
    counts: list[int] = []
    number = shift = 0
    for code in text.encode("utf-8"):
        bits = code - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError(f"its run lengths have the character {chr(code)!r}")
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            number -= 1 << shift
        counts.append(number + (counts[-2] if len(counts) > 2 else 0))
        number = shift = 0
    if shift:
        raise ValueError("its run lengths end inside of a number")
    return counts


Outline = Sequence[Float[np.ndarray, "_ 2"]] | Int[np.ndarray, "_"]
"""The polygons of an object, or its run lengths."""


def instance_ids(
    outlines: Sequence[Outline], size: tuple[int, int]
) -> Int32[np.ndarray, "height width"]:
    """The object of each pixel: k + 1 for the outline k, 0 for none.

    A pixel of several objects belongs to the smallest of them.
    """
    masks = [_mask(outline, size) for outline in outlines]
    ids = np.zeros(size, np.int32)
    for k in sorted(range(len(masks)), key=lambda k: -int(masks[k].sum())):
        ids[masks[k]] = k + 1
    return ids


def _mask(outline: Outline, size: tuple[int, int]) -> Mask:
    if isinstance(outline, np.ndarray):
        return run_length_mask(outline.tolist(), size)
    return np.logical_or.reduce([polygon_mask(points, size) for points in outline])


def check_polygon(points: Float[np.ndarray, "n 2"], size: tuple[int, int]) -> None:
    """Checks that a polygon has corners, and that following its border ends soon.

    Raises:
        ValueError: less than three corners, or one further from the image than its longer side.
    """
    if len(points) < 3:
        raise ValueError(f"its polygon has {len(points)} corners, expected 3 or more")
    far = max(size)
    wrong = points[~((points >= -far) & (points <= 2 * far)).all(axis=1)]
    if len(wrong):
        x, y = wrong[0].tolist()
        raise ValueError(
            f"its polygon has the corner ({x:g}, {y:g}), far outside of the image of"
            f" {size[0]}x{size[1]} pixels"
        )
