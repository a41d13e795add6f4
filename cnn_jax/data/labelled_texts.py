"""Texts with a class each, as rows of words: a table, a TFDS data set, or Python's documentation.

Words are those of `split_words`. A row is cut or filled with `PADDING` to one length.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnn_jax.data.dataset import Dataset
from cnn_jax.data.errors import DataError
from cnn_jax.data.held_out import hold_out
from cnn_jax.data.splits import ArraySplit
from cnn_jax.data.text import PADDING, UNKNOWN, read_text
from cnn_jax.data.tfds_reader import tfds_directory
from cnn_jax.data.tfds_texts import is_prepared, read_tfds_texts
from cnn_jax.data.words import split_words
from cnn_jax.errors import check_range

TABLES = {".csv": ",", ".tsv": "\t"}
"""Endings of tables, with what separates their columns."""
CHAPTERS, LEAST_WORDS = 6, 8
"""Classes of Python's documentation, and words of a paragraph at least."""
Labelled = Mapping[str, tuple[Sequence[str], Sequence[int]]]
"""By split: texts, and the class of each."""


@dataclass(frozen=True)
class LabelledTextsConfig:
    """Which texts, and how they are read."""

    name: str = "python"
    """Table (.csv or .tsv, also with .gz) with the columns label and text; a TFDS data set of texts
    with classes, such as imdb_reviews; "python": paragraphs of Python's documentation, whose class
    is their chapter."""
    dir: str = ""
    """TFDS directory; by default TFDS_DATA_DIR or ~/tensorflow_datasets."""
    length: int = 100
    """Words of a text; what follows is left out."""
    least_count: int = 2
    """Times that a word must occur in the training texts; rarer ones are one unknown word."""
    validation: float = 0.1
    """Share of the training texts that is held out, where there is no validation split."""

    def __post_init__(self) -> None:
        check_range(self, 1, length=self.length, least_count=self.least_count)
        check_range(self, 0, 0.9, above=True, validation=self.validation)


def load_labelled_texts(config: LabelledTextsConfig) -> tuple[Dataset, tuple[str, ...]]:
    """The data set, with the entries `tokens` [length] and `label`, and the words by token.

    Token 0 is every word that is not in the vocabulary; frequent words follow first.

    Raises:
        DataError: texts that are missing or broken, or fewer than two classes.
    """
    title, labelled, class_names = _texts(config)
    if len(class_names) < 2:
        names = ", ".join(class_names) or "none"
        raise DataError(f"{title} has {len(class_names)} class, {names}: expected 2 or more")
    parts = {
        role: ([split_words(t) for t in texts], np.array(labels, np.int32))
        for role, (texts, labels) in labelled.items()
    }
    if "validation" not in parts:
        rows, labels = parts["train"]
        places = hold_out(np.arange(len(rows)), round(config.validation * len(rows)), labels)
        for role, chosen in zip(("train", "validation"), places, strict=True):
            parts[role] = [rows[place] for place in chosen], labels[chosen]
    if empty := [role for role, (rows, _) in parts.items() if not rows]:
        raise DataError(f"{title} has no texts for {empty[0]}: take more texts")
    counts = Counter(word for row in parts["train"][0] for word in row)
    known = (word for word, count in counts.most_common() if count >= config.least_count)
    words = (UNKNOWN, *known)
    places_of = {word: place for place, word in enumerate(words)}
    splits = {
        role: ArraySplit({"tokens": _rows(rows, places_of, config.length), "label": labels})
        for role, (rows, labels) in parts.items()
    }
    return Dataset(config.name, title, splits, class_names), words


def _rows(rows: Iterable[Sequence[str]], places: Mapping[str, int], length: int) -> np.ndarray:
    """Tokens [texts, length]. A text without words is one unknown word."""
    rows = list(rows)
    tokens = np.full((len(rows), length), PADDING, np.int32)
    for row, words in zip(tokens, rows, strict=True):
        found = [places.get(word, 0) for word in words[:length]] or [0]
        row[: len(found)] = found
    return tokens


def _texts(config: LabelledTextsConfig) -> tuple[str, Labelled, tuple[str, ...]]:
    if config.name == "python":
        return _chapters()
    path = Path(config.name).expanduser()
    if path.exists():
        return _table(path)
    if not is_prepared(config.name, config.dir):
        raise DataError(
            f"there is no table {path}, and no TFDS data set of that name in "
            f"{tfds_directory(config.dir)}"
        )
    stored = read_tfds_texts(config.name, config.dir)
    if not stored.class_names:
        raise DataError(f"{config.name} has texts without classes")
    roles = [role for role in ("train", "validation", "test") if role in stored.texts]
    if "train" not in roles:
        raise DataError(f"{config.name} has no split train, only {', '.join(stored.texts)}")
    labelled = {role: (stored.texts[role], stored.labels[role].tolist()) for role in roles}
    return config.name, labelled, stored.class_names


def _table(path: Path) -> tuple[str, Labelled, tuple[str, ...]]:
    ending = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if ending not in TABLES:
        raise DataError(f"{path} is no table: expected a name that ends in {' or '.join(TABLES)}")
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), delimiter=TABLES[ending])
    if not {"label", "text"} <= set(reader.fieldnames or ()):
        raise DataError(
            f"{path} needs the columns label and text in its first line, got "
            f"{', '.join(reader.fieldnames or ())}"
        )
    texts, names = [], []
    try:
        for row in reader:
            if not row["label"] or row["text"] is None:
                raise DataError(f"{path}, line {reader.line_num:,}: expected a label and a text")
            texts.append(row["text"])
            names.append(row["label"].strip())
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num:,}: {error}") from None
    class_names = tuple(sorted(set(names)))
    places = {name: place for place, name in enumerate(class_names)}
    return path.name, {"train": (texts, [places[name] for name in names])}, class_names


def _chapters() -> tuple[str, Labelled, tuple[str, ...]]:
    """Paragraphs of prose of the chapters with most of them; those of several are left out."""
    from pydoc_data.topics import topics

    found = {
        name: dict.fromkeys(
            p for p in re.split(r"\n\s*\n", text) if len(split_words(p)) >= LEAST_WORDS
        )
        for name, text in topics.items()
    }
    times = Counter(paragraph for paragraphs in found.values() for paragraph in paragraphs)
    own = {name: [p for p in paragraphs if times[p] == 1] for name, paragraphs in found.items()}
    class_names = tuple(sorted(sorted(own, key=lambda name: -len(own[name]))[:CHAPTERS]))
    pairs = [(text, label) for label, name in enumerate(class_names) for text in own[name]]
    texts, labels = zip(*pairs, strict=True)
    return "Python's documentation, chapters", {"train": (texts, labels)}, class_names
