"""Decodes masks: images with one class for every pixel, by its number or by its colour."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image as PillowImage

from cnn_jax.data.augment import IGNORED
from cnn_jax.data.decode import opened_image
from cnn_jax.data.errors import DataError
from cnn_jax.data.image_files import read_file

CLASSES_FILE = "classes.txt"
"""The names of the classes in the order of their numbers, and where masks have colours, these."""
IGNORE = "ignore"
"""The name, beside a colour, of the pixels that belong to no class."""
WAY_OUT = (
    f"save it as a gray or palette PNG of class numbers, or list the colours in {CLASSES_FILE},"
    " one line for each class, such as 'road 128 64 128'"
)
_LINE = re.compile(r"(?P<name>.+?)(?:\s+(?P<colour>\d+\s+\d+\s+\d+))?")

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Coding:
    """What the values of masks mean.

    Attributes:
        names: of the classes, in the order of their numbers; () if they are not known.
        colours: the class of each colour, `IGNORED` for none. If there are any, masks in RGB are
            read by them, and if all of them are gray, gray masks too.
        numbers: the class of each stored number, if these are other numbers.
    """

    names: tuple[str, ...] = ()
    colours: Mapping[Colour, int] = field(default_factory=dict)
    numbers: Mapping[int, int] = field(default_factory=dict)


def read_coding(path: Path) -> Coding:
    """Reads a file of class names, one a line, each with a colour (three numbers) or none with one.

    The line "ignore 0 0 0" gives the colour of pixels that belong to no class.

    Raises:
        DataError: a file without names or with too many; colours on some lines only, out of range
            or twice.
    """
    try:
        lines = [line.strip() for line in read_file(path).decode("utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(f"the names of the classes in {path} cannot be read: {error}") from error
    found = [match for line in lines if line and (match := _LINE.fullmatch(line))]
    coloured = [match["colour"] is not None for match in found]
    if any(coloured) and not all(coloured):
        raise DataError(
            f"{path} has no colour in the line {found[coloured.index(False)][0]!r}, and others have"
            " one: give each class a colour, or none"
        )
    colours: dict[Colour, int] = {}
    names: list[str] = []
    for match in found:
        ignored = any(coloured) and match["name"] == IGNORE
        if any(coloured):
            red, green, blue = map(int, match["colour"].split())
            if max(red, green, blue) > 255 or (red, green, blue) in colours:
                raise DataError(
                    f"{path} has the line {match[0]!r}, expected a colour of its own with values 0"
                    " to 255"
                )
            colours[red, green, blue] = IGNORED if ignored else len(names)
        if not ignored:
            names.append(match["name"])
    if not 1 <= len(names) <= IGNORED:
        raise DataError(f"{path} has {len(names):,} names of classes, expected 1 to {IGNORED}")
    return Coding(tuple(names), colours)


def decode_mask(encoded: bytes, coding: Coding) -> UInt8[np.ndarray, "height width"]:
    """Decodes a mask to the class of every pixel, `IGNORED` for none.

    A gray image holds the numbers of the classes, and of one with a palette the indices count, not
    the colours.

    Raises:
        ValueError: not a complete image, one with losses (JPEG), with numbers above 255, or in
            colours that `coding` does not list.
    """
    if not encoded:
        raise ValueError("it is empty")
    if encoded.startswith(b"\xff\xd8"):
        raise ValueError("it is a JPEG, which changes values: save masks as PNG")
    with opened_image(encoded) as (opened, turn, _):
        gray = all(len(set(colour)) == 1 for colour in coding.colours)
        if opened.mode == "P" or (
            opened.mode in ("1", "L", "I", "I;16") and not (coding.colours and gray)
        ):
            return _by_number(np.asarray(turn(opened)) // _scale(encoded, opened), coding)
        if not coding.colours:
            colours = opened.convert("RGB").getcolors(1 << 16)
            many = f" of {len(colours)} colours" if colours else ""
            raise ValueError(
                f"it is an {opened.mode} image{many}, expected one number for each pixel: {WAY_OUT}"
            )
        return _by_colour(np.asarray(turn(opened.convert("RGB"))), coding)


def _scale(encoded: bytes, opened: PillowImage.Image) -> int:
    # Pillow spreads gray values of 2 and 4 bits over 0 to 255. PNG 1.2, section 4.1.1: bit depth
    # and colour type follow the size.
    if opened.format == "PNG" and encoded[25] == 0 and encoded[24] in (2, 4):
        return 255 // (2 ** encoded[24] - 1)
    return 1


def _by_number(
    values: Integer[np.ndarray, "height width"], coding: Coding
) -> UInt8[np.ndarray, "height width"]:
    if values.min() < 0 or values.max() > IGNORED:
        raise ValueError(
            f"it has the value {values.max() if values.min() >= 0 else values.min()}, expected the"
            f" numbers of classes, or {IGNORED} for none"
        )
    mask = values.astype(np.uint8)
    if not coding.numbers:
        return mask
    table = np.array([coding.numbers.get(number, IGNORED) for number in range(256)], np.uint8)
    return table[mask]


def _by_colour(
    image: UInt8[np.ndarray, "height width 3"], coding: Coding
) -> UInt8[np.ndarray, "height width"]:
    values = image.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    known = {
        (red << 16) + (green << 8) + blue: c for (red, green, blue), c in coding.colours.items()
    }
    keys = np.array(sorted(known), np.int32)
    places = np.searchsorted(keys, values).clip(max=len(keys) - 1)
    unknown = keys[places] != values
    if unknown.any():
        row, column = np.argwhere(unknown)[0].tolist()
        raise ValueError(
            f"its pixel in row {row}, column {column} has the colour"
            f" {tuple(image[row, column].tolist())}, which {CLASSES_FILE} does not list"
        )
    return np.array([known[key] for key in keys.tolist()], np.uint8)[places]
