"""Files that word vectors are tested on: analogies, and pairs of words with people's judgements."""

from pathlib import Path

from cnn_jax.data.errors import DataError
from cnn_jax.data.text import read_text

Analogy = tuple[str, str, str, str]


def read_analogies(path: str | Path) -> dict[str, list[Analogy]]:
    """The questions of word2vec's `questions-words.txt`, in lower case, by section.

    A line ": name" begins a section; every other line has four words.

    Raises:
        DataError: a file that cannot be read, or a line that is neither, with its number.
    """
    sections: dict[str, list[Analogy]] = {}
    questions: list[Analogy] | None = None
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        parts = line.lower().split()
        if parts and parts[0].startswith(":"):
            questions = sections.setdefault(" ".join(parts).lstrip(": "), [])
        elif len(parts) == 4 and questions is not None:
            questions.append((parts[0], parts[1], parts[2], parts[3]))
        elif parts:
            raise DataError(
                f"{path}, line {number:,}: expected ': section' or four words of a section, got "
                f"{line[:80]!r}"
            )
    return sections


def read_word_pairs(path: str | Path) -> list[tuple[str, str, float]]:
    """Pairs of words in lower case and how similar people find them: two words and a number a line,
    separated by white space, commas or semicolons. A first line that ends in no number is a head.

    Raises:
        DataError: a file that cannot be read, or another line, with its number.
    """
    pairs = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        parts = line.replace(",", " ").replace(";", " ").lower().split()
        try:
            first, second, score = parts
            pairs.append((first, second, float(score)))
        except ValueError:
            if parts and number > 1:
                raise DataError(
                    f"{path}, line {number:,}: expected two words and a number, got {line[:80]!r}"
                ) from None
    return pairs
