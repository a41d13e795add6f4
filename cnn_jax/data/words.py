"""Texts for word vectors: the words of a text's sentences as one sequence of tokens.

The text is a file in UTF-8, plain or compressed by gzip; a text data set of TFDS; or Python's own
documentation. Words are in lower case, marks are left out, and no window crosses the end of a
sentence.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from cnn_jax.data.dataset import Dataset
from cnn_jax.data.errors import DataError
from cnn_jax.data.phrases import find_phrases, join_phrases
from cnn_jax.data.splits import WindowSplit
from cnn_jax.data.text import python_documentation, read_text
from cnn_jax.data.tfds_reader import tfds_directory
from cnn_jax.data.tfds_texts import is_prepared, read_tfds_texts
from cnn_jax.errors import check_range

BREAK = -1
"""The token between two sentences, and beyond the end of the text."""
_WORDS = re.compile(r"\w+(?:['\u2019]\w+)*")
_WRAPPED = re.compile(r"(?<!\n)\n(?!\n)")


@dataclass(frozen=True)
class WordsConfig:
    """Which text, and which of its words have vectors."""

    name: str = "python"
    """Text file in UTF-8, or one compressed by gzip (.gz); a TFDS data set of texts; "python":
    Python's documentation."""
    dir: str = ""
    """TFDS directory; by default TFDS_DATA_DIR or ~/tensorflow_datasets."""
    sentences: Literal["auto", "lines", "paragraphs"] = "auto"
    """What no window crosses the end of: a line, or a paragraph that ends in an empty line; auto:
    paragraphs of Python's documentation, lines of other texts."""
    least_count: int = 5
    """Times that a word must occur in the training text; rarer ones are left out."""
    phrases: int = 0
    """How often pairs of words that belong together are joined by "_"; 2 also gives phrases of
    three and four words."""
    phrase_threshold: float = 100.0
    """Score above which a pair is a phrase; higher gives fewer."""
    validation: float = 0.02
    """Share of the text that is for validation, at its end; 0: none."""
    stretch: int = 1024
    """Tokens of an example, of which a training step sees --training.batch-size."""

    def __post_init__(self) -> None:
        check_range(self, 1, least_count=self.least_count)
        check_range(self, 2, stretch=self.stretch)
        check_range(self, 0, 9, phrases=self.phrases)
        check_range(self, 0, above=True, phrase_threshold=self.phrase_threshold)
        check_range(self, 0, 0.9, validation=self.validation)


def load_words(config: WordsConfig) -> Dataset:
    """The text that `config` names, as stretches; class names are the words, frequent ones first.

    The last stretch is filled with `BREAK`.

    Raises:
        DataError: a text that is missing, empty or no UTF-8; fewer than two words that are frequent
            enough.
    """
    title, texts, wrapped = _texts(config)
    names: dict[str, int] = {}
    parts = [_tokens(text, names, wrapped) for text in texts]
    tokens = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    cut = round(len(tokens) * (1 - config.validation))
    split = {"train": tokens[:cut]}
    if config.validation and (tokens[cut:] >= 0).any():
        split["validation"] = tokens[cut:]
    words = tuple(names)
    for _ in range(config.phrases):
        phrases = find_phrases(
            split["train"],
            len(words),
            threshold=config.phrase_threshold,
            discount=config.least_count,
        )
        split = {role: join_phrases(part, phrases) for role, part in split.items()}
        words += phrases.names(words)
        # The text may hold a word that is written as a phrase is.
        first = {word: place for place, word in reversed(list(enumerate(words)))}
        same = np.array([first[word] for word in words] + [BREAK])
        split = {role: same[part] for role, part in split.items()}
    train = split["train"]
    counts = np.bincount(train[train >= 0], minlength=len(words))
    # Words of equal counts in the order of the text.
    order = np.argsort(-counts, kind="stable")
    order = order[counts[order] >= config.least_count]
    if len(order) < 2:
        there = f"only {words[order[0]]!r}" if len(order) else "none"
        raise DataError(
            f"{title} has {len(words):,} different words, and a vocabulary of at least 2 is needed:"
            f" {there} occurs {config.least_count} times or more in the training text; take a "
            "longer text or a lower --data.least-count"
        )
    new = np.full(len(words) + 1, BREAK - 1)  # its last entry is that of BREAK
    new[order], new[BREAK] = np.arange(len(order)), BREAK
    return Dataset(
        config.name,
        title,
        {role: _stretches(new[part], config.stretch) for role, part in split.items()},
        tuple(words[place] for place in order),
    )


def split_words(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return _WORDS.findall(text.lower())


def word_counts(dataset: Dataset) -> np.ndarray:
    """How often each word of the vocabulary occurs in the training text."""
    split = dataset.splits["train"]
    assert isinstance(split, WindowSplit)
    return np.bincount(split.tokens[split.tokens >= 0], minlength=len(dataset.class_names))


def _texts(config: WordsConfig) -> tuple[str, Iterable[str], bool]:
    """The title, the texts, and whether lines are only parts of sentences."""
    paragraphs = config.sentences == "paragraphs"
    if config.name == "python":
        wrapped = config.sentences != "lines"
        return "Python's documentation", [python_documentation()], wrapped
    if not Path(config.name).expanduser().exists() and is_prepared(config.name, config.dir):
        stored = read_tfds_texts(config.name, config.dir)
        role = "train" if "train" in stored.texts else next(iter(stored.texts))
        return f"{config.name}, {role}", stored.texts[role], paragraphs
    path = Path(config.name).expanduser()
    if not path.exists():
        raise DataError(
            f"there is no text file {path}, and no TFDS data set of that name in "
            f"{tfds_directory(config.dir)}"
        )
    return path.name, [read_text(path)], paragraphs


def _tokens(text: str, names: dict[str, int], wrapped: bool) -> np.ndarray:
    """The words by number, and `BREAK` after each sentence; new words are added to the names."""

    def numbers() -> Iterator[int]:
        for sentence in (_WRAPPED.sub(" ", text) if wrapped else text).split("\n"):
            words = split_words(sentence)
            for word in words:
                yield names.setdefault(word, len(names))
            if words:
                yield BREAK

    return np.fromiter(numbers(), np.int64)


def _stretches(tokens: np.ndarray, length: int) -> WindowSplit:
    """Without the words that are not in the vocabulary."""
    tokens = tokens[tokens >= BREAK]
    rest = -len(tokens) % length if len(tokens) else length
    filled = np.concatenate([tokens, np.full(rest, BREAK)]).astype(np.int32)
    return WindowSplit(filled, length=length, contiguous=False)
