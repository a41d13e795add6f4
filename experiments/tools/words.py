"""What word vectors know: those of a run, or of a file of word2vec, GloVe or fastText.

    python -m experiments.words --run runs/word2vec/1234abcd --near film actor
    python -m experiments.words --run runs/word2vec/1234abcd --analogy man king woman
    python -m experiments.words --vectors glove.6B.100d.txt --tests questions-words.txt
    python -m experiments.words --run runs/word2vec/1234abcd --save vectors.txt vectors.bin

`--tests` are files of analogies, as word2vec's questions-words.txt, or of pairs of words with
people's judgements, such as WordSim-353. `--save` writes word2vec's formats, which gensim reads.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from cnn_jax.data.text import read_text
from cnn_jax.data.word_files import read_vectors, write_vectors
from cnn_jax.data.word_tests import read_analogies, read_word_pairs
from cnn_jax.errors import ConfigError, UserError, check_range
from cnn_jax.extras import extra
from cnn_jax.saved_run import load_run
from cnn_jax.tasks.word2vec import Word2Vec
from cnn_jax.tasks.word_scores import (
    analogy_scores,
    nearest_to_analogy,
    nearest_words,
    similarity_score,
    unit_rows,
)
from cnn_jax.visual import save_figure, word_map
from experiments.tools.command_line import run_tool
from experiments.tools.messages import printable
from experiments.tools.networks import checkpoint_of_run

Plane = Literal["pca", "tsne"]
Found = dict[str, list[tuple[str, float]]]
PLANES: dict[Plane, str] = {"pca": "by principal components", "tsne": "by t-SNE"}
BINARY = ".bin"
"""Ending of a file in word2vec's binary format; others are text."""
SIMILAR = 3
"""Known words that are named beside an unknown one."""


@dataclass(frozen=True)
class WordVectors:
    """Words, frequent ones first, with their vectors [words, size].

    Attributes:
        words: all of them.
        vectors: one for each.
        title: names them in messages and figures.
    """

    words: tuple[str, ...]
    vectors: np.ndarray
    title: str

    def places(self, words: Sequence[str]) -> np.ndarray:
        """The places of some words.

        Raises:
            ConfigError: words that have no vector.
        """
        of_all = {word: place for place, word in enumerate(self.words)}
        if unknown := [word for word in words if word not in of_all]:
            similar = difflib.get_close_matches(unknown[0].lower(), self.words, SIMILAR)
            hint = f"; similar to {unknown[0]!r} are {', '.join(similar)}" if similar else ""
            raise ConfigError(
                f"not among the {len(self.words):,} words of {self.title}: "
                f"{', '.join(map(repr, unknown))}{hint}"
            )
        return np.array([of_all[word] for word in words], np.int64)

    def nearest(self, words: Sequence[str], number: int) -> Found:
        """The words with the largest cosines to each of some words."""
        found = nearest_words(unit_rows(self.vectors), self.places(words), number)
        return {
            word: self._named(*row)
            for word, row in zip(words, zip(*found, strict=True), strict=True)
        }

    def analogy(self, words: Sequence[str], number: int) -> Found:
        """The words that are to the third of three as the second is to the first."""
        found = nearest_to_analogy(unit_rows(self.vectors), self.places(words), number)
        return {"{} : {} = {} : ?".format(*words): self._named(*found)}

    def _named(self, places: np.ndarray, cosines: np.ndarray) -> list[tuple[str, float]]:
        return [(self.words[place], float(one)) for place, one in zip(places, cosines, strict=True)]

    def map(self, number: int, method: Plane) -> Any:
        """A figure of the most frequent words in the plane."""
        number = min(number, len(self.words))
        return word_map(
            self.plane(number, method),
            self.words[:number],
            title=f"{self.title}: the {number:,} most frequent words, {PLANES[method]}",
        )

    def plane(self, number: int, method: Plane, *, seed: int = 0) -> np.ndarray:
        """Two numbers for each of the most frequent words, by their directions."""
        units = unit_rows(self.vectors[:number])
        if method == "pca" or len(units) < 3:
            centred = units - units.mean(axis=0)
            return centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
        with extra("data", "t-SNE"):
            from sklearn.manifold import TSNE
        perplexity = min(30.0, (len(units) - 1) / 3)
        plane = TSNE(metric="cosine", init="random", perplexity=perplexity, random_state=seed)
        return plane.fit_transform(units)


@dataclass(frozen=True)
class Options:
    """Which word vectors, and what is asked of them."""

    run: str = ""
    """Directory of a run of word2vec."""
    vectors: str = ""
    """File of vectors: word2vec's text or binary format, GloVe's or fastText's text."""
    near: tuple[str, ...] = ()
    """Words whose nearest words are printed."""
    analogy: tuple[str, ...] = ()
    """Three words a, b and c: which word is to c as b is to a?"""
    number: int = 10
    """Words that are printed of each."""
    tests: tuple[str, ...] = ()
    """Files of analogies, or of pairs of words with judgements, that the vectors are tested on."""
    save: tuple[str, ...] = ()
    """Files for the vectors: word2vec's binary format if they end in .bin, else its text format."""
    map: str = ""
    """File (.png) for a map of the most frequent words in the plane."""
    plane: Plane = "pca"
    """How the map is made: principal components, or t-SNE, which keeps neighbours together."""
    mapped: int = 300
    """Words of the map."""
    overwrite: bool = False
    """Replace files that are there."""
    checkpoint: str = ""
    """best (on the validation split), last, or the number of a step; by default the one whose
    metrics the run's final table shows."""

    def __post_init__(self) -> None:
        check_range(self, 1, number=self.number)
        check_range(self, 2, mapped=self.mapped)
        check_analogy(self.analogy)


def check_analogy(words: Sequence[str]) -> None:
    """Raise ConfigError unless there are three words, or none."""
    if len(words) not in (0, 3):
        raise ConfigError(
            f"--analogy needs three words, as in --analogy man king woman, got {len(words)}"
        )


def load_vectors(options: Options) -> WordVectors:
    """The vectors of a run or a file.

    Raises:
        ConfigError: neither or both are named, or the run is of another task.
        UserError: they cannot be read.
    """
    if bool(options.run) == bool(options.vectors):
        got = "both" if options.run else "neither"
        raise ConfigError(f"which vectors? Give --run DIRECTORY or --vectors FILE, got {got}")
    if options.vectors:
        words, vectors = read_vectors(options.vectors)
        return WordVectors(words, vectors, Path(options.vectors).name)
    network = load_run(options.run, checkpoint_of_run(options.checkpoint))
    if not isinstance(network.task, Word2Vec):
        raise ConfigError(
            f"{network.title}: expected word vectors, got a run of the task "
            f"{type(network.task).__name__}; name a run of word2vec"
        )
    vectors = np.asarray(network.variables["params"]["inputs"])
    return WordVectors(network.class_names, vectors, network.title)


def score_table(vectors: WordVectors, path: str) -> Table:
    """How the vectors do in the test of a file: a row a section, or the correlation."""
    name = Path(path).name
    if read_text(path).lstrip().startswith(":"):
        sections = read_analogies(path)
        table = Table("section", "asked", "known", title=name, title_justify="left")
        methods: tuple[Literal["3CosAdd", "3CosMul"], ...] = ("3CosAdd", "3CosMul")
        scores = [analogy_scores(vectors.words, vectors.vectors, sections, m) for m in methods]
        for method in methods:
            table.add_column(method, justify="right")
        for section, share in scores[0].items():
            shares = [f"{100 * one[section].accuracy:.1f}%" for one in scores]
            table.add_row(section, f"{share.asked:,}", f"{share.known:,}", *shares)
        return table
    score = similarity_score(vectors.words, vectors.vectors, read_word_pairs(path))
    table = Table("pairs", "known", "Spearman", title=name, title_justify="left")
    table.add_row(f"{score.asked:,}", f"{score.known:,}", f"{score.spearman:.4f}")
    return table


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    run_tool("words", Options, _run, description=__doc__, argv=argv)


def _run(options: Options, console: Console) -> None:
    vectors = load_vectors(options)
    written = [*options.save, *([options.map] if options.map else [])]
    if there := [path for path in written if Path(path).exists() and not options.overwrite]:
        raise UserError(f"{there[0]} is there already; give another name, or --overwrite")
    found = vectors.nearest(options.near, options.number) if options.near else {}
    if options.analogy:
        found |= vectors.analogy(options.analogy, options.number)
    count, size = vectors.vectors.shape
    _say(console, f"{vectors.title}: {count:,} words, vectors of size {size}")
    for asked, words in found.items():
        _say(console, f"{asked}: " + ", ".join(f"{word} {cosine:.3f}" for word, cosine in words))
    for path in options.tests:
        console.print(score_table(vectors, path))
    try:
        for path in options.save:
            write_vectors(path, vectors.words, vectors.vectors, binary=Path(path).suffix == BINARY)
        if options.map:
            save_figure(vectors.map(options.mapped, options.plane), Path(options.map))
    except OSError as error:
        raise UserError(f"cannot write {error.filename}: {error.strerror}") from None
    for path in written:
        _say(console, f"wrote {path}")


def _say(console: Console, text: str) -> None:
    console.print(printable(text), highlight=False, markup=False, soft_wrap=True)
