"""Text of known size: line breaks and cuts."""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

_LINE_HEIGHT = 1.35  # in units of the font size
# Where a word that is wider than a line is broken: after punctuation, as in file names. If a part
# is still too wide, between letters, and if a number is, between its digits.
_NUMBER = r"\d+(?:[.,]\d+)*"
_PARTS = (rf"(?:{_NUMBER}|[^\W_])+[\W_]*|[\W_]+", rf"{_NUMBER}|\D", ".")


def text_width(text: str, *, size: float) -> float:
    """Width of one line of text at `size` points, in inches."""
    font = FontProperties(size=size)
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 72


def text_height(text: str, *, size: float) -> float:
    """Height of the lines of `text` at `size` points, in inches."""
    return (text.count("\n") + 1) * size * _LINE_HEIGHT / 72 if text else 0.0


def wrap(text: str, *, width: float, size: float) -> str:
    """Break the lines of `text` so that they fit into `width` inches at `size` points.

    Lines break between words. A word is broken only if it is wider than a line, and then after
    punctuation and not inside a number, where that is possible.
    """

    def fits(line: str) -> bool:
        return text_width(line, size=size) <= width

    def parts(word: str, levels: Sequence[str] = _PARTS) -> Iterator[str]:
        if fits(word) or not levels:
            yield word
        else:
            for part in re.findall(levels[0], word):
                yield from parts(part, levels[1:])

    lines = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split():
            space = " " if line else ""
            if line and not fits(line + space + word):
                lines.append(line)
                line = space = ""
            for part in parts(word):
                if line and not fits(line + space + part):
                    lines.append(line)
                    line = ""
                line, space = line + space + part, ""
        lines.append(line)
    return "\n".join(lines)


def wrap_and_cut(text: str, *, width: float, size: float, lines: int) -> str:
    """Wrap a text and shorten it to at most this many lines."""
    wrapped = wrap(text, width=width, size=size).split("\n")
    if len(wrapped) > lines:
        rest = " ".join(wrapped[lines - 1 :])
        wrapped = [*wrapped[: lines - 1], cut(rest, width=width, size=size)]
    return "\n".join(wrapped)


def cut(text: str, *, width: float, size: float) -> str:
    """The text on one line, shortened with an ellipsis if it does not fit into `width` inches."""
    # No readable font has more letters per inch, and measuring many letters is slow.
    text = " ".join(text.split())[: int(50 * width)]
    if "\n" not in wrap(text, width=width, size=size):
        return text
    length = bisect_left(
        range(len(text)), True, key=lambda n: "\n" in wrap(text[:n] + "…", width=width, size=size)
    )
    kept = text[: length - 1]
    if text[length - 1].isdigit():
        # The beginning of a number would be another number.
        kept = re.sub(rf"(?<!\d){_NUMBER}[.,]?$", "", kept) or kept
    return f"{kept.rstrip()}…"
