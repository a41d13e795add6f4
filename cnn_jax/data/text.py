"""Texts for language models: a file, or Python's own documentation, as one sequence of tokens.

A text file is UTF-8, plain or compressed by gzip (``.gz``). Its first part is for training and its
last for validation. Tokens are characters, or words and marks.
"""

import gzip
import re
import stat
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from cnn_jax.data.dataset import Dataset
from cnn_jax.data.errors import DataError
from cnn_jax.data.splits import WindowSplit
from cnn_jax.errors import check_range

Unit = Literal["character", "word"]
UNKNOWN = "\ufffd"
"""The token of what is not in the vocabulary, Unicode's replacement character."""
PADDING = -1
"""The token beyond the end of a text, which is no target."""
LARGEST = 2**30
"""Bytes of the largest text that is read."""
_WORDS = re.compile(r"\w+|[^\w\s]+|\n")


@dataclass(frozen=True)
class TextConfig:
    """Which text, and how it is cut."""

    name: str = "python"
    """Text file in UTF-8, or one compressed by gzip (.gz); "python": Python's documentation."""
    unit: Unit = "character"
    """Tokens: characters; or words, marks and ends of lines, in lower case."""
    least_count: int = 1
    """Times that a token must occur in the training text to be in the vocabulary."""
    validation: float = 0.1
    """Share of the text that is for validation, at its end."""
    window: int = 100
    """Tokens of each example, and so the steps that gradients go back; the state goes on."""

    def __post_init__(self) -> None:
        check_range(self, 1, least_count=self.least_count, window=self.window)
        check_range(self, 0, 0.9, above=True, validation=self.validation)


def load_text(config: TextConfig) -> Dataset:
    """The text that `config` names, as windows in turn; class names are the vocabulary.

    Example i of a split holds the tokens i * window to (i + 1) * window, the last one of which is
    also the first of example i + 1, so that every token but the first is once a target. The
    validation text ends in windows that are filled with `PADDING`. Without an unknown token in
    either, there is none in the vocabulary.

    Raises:
        DataError: a text that is missing, empty, no UTF-8, or too short for a window.
    """
    text = python_documentation() if config.name == "python" else read_text(config.name)
    title = "Python's documentation" if config.name == "python" else Path(config.name).name
    symbols = split_text(text, config.unit)
    first = round(len(symbols) * (1 - config.validation))
    parts = {"train": symbols[:first], "validation": symbols[first:]}
    for split, part in parts.items():
        if len(part) < config.window + 1:
            raise DataError(
                f"{title} has {len(symbols):,} {config.unit}s, {len(part):,} of them for {split}, "
                f"and a window and its last target take {config.window + 1:,}: take a longer text "
                "or a shorter --data.window"
            )
    names = vocabulary(parts["train"], config.least_count)
    known = set(names)
    if UNKNOWN not in known and not known.issuperset(symbols):
        names = (*names, UNKNOWN)
    if len(names) < 2:
        raise DataError(
            f"{title} has a vocabulary of {len(names)} {config.unit}, {names[0]!r}: there is "
            "nothing to predict; take another text or a lower --data.least-count"
        )
    splits = {}
    for split, part in parts.items():
        tokens = encode(part, names)
        if split == "validation":
            rest = -(len(tokens) - 1) % config.window
            tokens = np.concatenate([tokens, np.full(rest, PADDING, np.int32)])
        splits[split] = WindowSplit(tokens, length=config.window + 1, stride=config.window)
    return Dataset(config.name, title, splits, names)


def read_text(path: str | Path) -> str:
    """The text of a file in UTF-8, plain or compressed by gzip.

    Raises:
        DataError: no file, not a regular one, larger than `LARGEST`, broken, empty, or no UTF-8.
    """
    path = Path(path).expanduser()
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path} is no regular file: name a text file")
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read the text {path}: {error}") from None
    if len(data) > LARGEST:
        raise DataError(f"{path} has more than {LARGEST:,} bytes of text: take a part of it")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path} is no text in UTF-8: byte {data[error.start]:#04x} at position "
            f"{error.start:,}, line {line:,}; convert it, for example with iconv -t UTF-8"
        ) from None
    if not text.strip():
        raise DataError(f"{path} is empty: it has no text")
    return text.replace("\r\n", "\n")


def python_documentation() -> str:
    """The reference of Python's language, which comes with its interpreter.

    With Python 3.11 it has some 0.5 million characters.
    """
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


def split_text(text: str, unit: Unit) -> Sequence[str]:
    """The characters of a text; or its words in lower case, marks and ends of lines."""
    return text if unit == "character" else _WORDS.findall(text.lower())


def join_text(symbols: Iterable[str], unit: Unit) -> str:
    """A text of symbols; words are joined by spaces."""
    if unit == "character":
        return "".join(symbols)
    return re.sub(r" ?\n ?", "\n", " ".join(symbols))


def vocabulary(symbols: Sequence[str], least_count: int = 1) -> tuple[str, ...]:
    """The symbols that occur at least so often, in their own order."""
    counts = Counter(symbols)
    return tuple(sorted(symbol for symbol, count in counts.items() if count >= least_count))


def encode(symbols: Iterable[str], names: Sequence[str]) -> np.ndarray:
    """The place of each symbol in the vocabulary, int32; that of `UNKNOWN` if it is not there.

    Raises:
        DataError: symbols that are not there, if `UNKNOWN` is not either.
    """
    places = {name: place for place, name in enumerate(names)}
    other = places.get(UNKNOWN, PADDING)
    symbols = list(symbols)
    tokens = np.fromiter((places.get(symbol, other) for symbol in symbols), np.int32, len(symbols))
    if (tokens == PADDING).any():
        missing = sorted({symbol for symbol in symbols if symbol not in places})
        raise DataError(f"not in the vocabulary: {', '.join(map(repr, missing[:10]))}")
    return tokens
