"""Split expressions such as "train[:90%]"."""

import re
from collections.abc import Mapping
from difflib import get_close_matches

from cnn_jax.data.errors import DataError

Ranges = tuple[tuple[str, int, int], ...]
"""(stored split, start, stop) of every part of an expression."""

_PART = re.compile(r"(?P<split>[^\[\]+\s]+)(\[(?P<start>-?\d+%?)?:(?P<stop>-?\d+%?)?\])?")


def parse_split(expression: str, sizes: Mapping[str, int]) -> Ranges:
    """Parses an expression in TFDS notation: "train", "train[:90%]", "train[5:]+test[-10%:]".

    `sizes` holds the number of examples of every stored split. Percentages are rounded to the
    nearest example, as in TFDS. Limits beyond the ends are clipped.

    Raises:
        DataError: the expression is malformed or empty, or names an unknown split.
    """
    ranges = []
    for part in expression.split("+"):
        match = _PART.fullmatch(part.strip())
        limits = [limit for limit in (match["start"], match["stop"]) if limit] if match else []
        mixed = len({limit.endswith("%") for limit in limits}) > 1  # TFDS reads both as percent
        if match is None or mixed:
            raise DataError(
                f"cannot parse the split {expression!r}: expected something like 'train',"
                " 'train[:90%]', 'train[1000:2000]' or 'train+test'"
            )
        split = match["split"]
        if split not in sizes:
            close = get_close_matches(split, sizes, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise DataError(f"unknown split {split!r}{hint}: there are {listed(sizes)}")
        size = sizes[split]
        start, stop = _bound(match["start"], size, 0), _bound(match["stop"], size, size)
        if stop <= start:
            raise DataError(f"the split {part.strip()!r} is empty: {split} has {size:,} examples")
        ranges.append((split, start, stop))
    return tuple(ranges)


def _bound(text: str | None, size: int, default: int) -> int:
    if text is None:
        return default
    position = round(int(text[:-1]) * size / 100) if text.endswith("%") else int(text)
    return min(max(position + size if position < 0 else position, 0), size)


def listed(sizes: Mapping[str, int]) -> str:
    """Names and sizes of splits, for a message."""
    return ", ".join(f"{name} ({size:,})" for name, size in sizes.items())
