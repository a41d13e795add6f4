"""Files of word vectors: the formats of word2vec, and the text files of GloVe and fastText.

word2vec's files begin with a line of the number of words and the size of the vectors, as fastText's
`.vec` files do. GloVe's have no such line.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from cnn_jax.data.errors import DataError
from cnn_jax.durable import replacing

LONGEST_WORD = 10_000
"""Bytes of the longest word of a file."""


def write_vectors(
    path: str | Path,
    words: Sequence[str],
    vectors: Float[np.ndarray, "words size"],
    *,
    binary: bool = False,
) -> None:
    """Write vectors in word2vec's text or binary format, whole or not at all.

    Raises:
        DataError: a word that the format cannot hold: an empty one, or one with white space.
    """
    for word in words:
        if not word or word.split() != [word]:
            raise DataError(f"word2vec's formats cannot hold the word {word!r}")
    vectors = np.asarray(vectors, np.float32)
    with replacing(Path(path)) as partial, partial.open("wb") as file:
        file.write(f"{len(words)} {vectors.shape[1]}\n".encode())
        for word, vector in zip(words, vectors, strict=True):
            if binary:
                file.write(word.encode() + b" " + vector.astype("<f4").tobytes() + b"\n")
            else:
                numbers = " ".join(np.format_float_positional(x, unique=True) for x in vector)
                file.write(f"{word} {numbers}\n".encode())


def read_vectors(path: str | Path) -> tuple[tuple[str, ...], Float[np.ndarray, "words size"]]:
    """The words and vectors of a file in any of the formats; which one is seen by itself.

    Raises:
        DataError: a file that cannot be read, or a broken line, with its number.
    """
    path = Path(path).expanduser()
    try:
        if not path.is_file():
            raise DataError(f"{path} is no regular file: name a file of word vectors")
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the word vectors {path}: {error}") from None
    head = data.split(b"\n", 1)[0].split()
    if len(head) == 2 and all(part.isdigit() for part in head):
        number, size = map(int, head)
        start = data.index(b"\n") + 1 if b"\n" in data else len(data)
        if _is_binary(data, start, size):
            return _binary(path, data, start, number, size)
        return _text(path, data, number, size)
    return _text(path, data, None, None)


def _is_binary(data: bytes, start: int, size: int) -> bool:
    """Whether the first line after the head is no text."""
    line = data[start : start + LONGEST_WORD].split(b"\n", 1)[0].split()
    try:
        return len([float(number) for number in line[1:]]) != size
    except ValueError:
        return True


def _text(
    path: Path, data: bytes, number: int | None, size: int | None
) -> tuple[tuple[str, ...], np.ndarray]:
    words: list[str] = []
    rows: list[np.ndarray] = []
    first = 0 if number is None else 1
    for line_number, line in enumerate(data.split(b"\n")[first:], start=first + 1):
        parts = line.rstrip().split(b" ")
        if parts == [b""]:
            continue
        try:
            word = parts[0].decode()
            row = np.array(parts[1:], np.float32)
        except ValueError as error:
            raise DataError(f"{path}, line {line_number:,}: {error}") from None
        size = len(row) if size is None else size
        if len(row) != size or not size or not np.isfinite(row).all():
            raise DataError(
                f"{path}, line {line_number:,}: expected a word and {size} finite numbers, got "
                f"{len(row)} after {word[:50]!r}"
            )
        words.append(word)
        rows.append(row)
    return _checked(path, words, rows, number)


def _binary(
    path: Path, data: bytes, at: int, number: int, size: int
) -> tuple[tuple[str, ...], np.ndarray]:
    words: list[str] = []
    rows: list[np.ndarray] = []
    for index in range(number):
        end = data.find(b" ", at, at + LONGEST_WORD)
        if end < 0 or end + 1 + 4 * size > len(data):
            raise DataError(
                f"{path} is cut off or broken: word {index + 1:,} of {number:,} is missing at "
                f"byte {at:,}"
            )
        try:
            words.append(data[at:end].lstrip(b"\n").decode())
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: word {index + 1:,} is not UTF-8: {error}") from None
        at = end + 1 + 4 * size
        row = np.frombuffer(data, "<f4", size, end + 1)
        if not np.isfinite(row).all():
            raise DataError(f"{path}: the vector of {words[-1][:50]!r} is not finite")
        rows.append(row)
    return _checked(path, words, rows, number)


def _checked(
    path: Path, words: list[str], rows: list[np.ndarray], number: int | None
) -> tuple[tuple[str, ...], np.ndarray]:
    if not words:
        raise DataError(f"{path} has no word vectors")
    if number is not None and len(words) != number:
        raise DataError(f"{path} says that it has {number:,} words, and has {len(words):,}")
    if len(set(words)) != len(words):
        twice = next(word for word, count in Counter(words).items() if count > 1)
        raise DataError(f"{path} has the word {twice!r} twice")
    return tuple(words), np.stack(rows)
