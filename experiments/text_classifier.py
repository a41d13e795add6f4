"""Texts are classified by reading: recurrent networks, or convolutions over words.

Lecture: "Word embeddings", "Recurrent networks". Source: Kim 2014 ("Convolutional neural networks
for sentence classification"). With `--vectors` each network is trained from random vectors of words
and from given ones, held fixed ("static") and trained on ("non_static").

    python -m experiments.text_classifier                       chapters of Python's documentation
    python -m experiments.text_classifier --bodies cnn lstm gru
    python -m experiments.text_classifier --data.name imdb_reviews --data.length 300
    python -m experiments.text_classifier --data.name mails.csv --vectors glove.6B.100d.txt
    python -m experiments.text_classifier --vectors runs/word2vec/1234abcd
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from cnn_jax.data import labels_of
from cnn_jax.data.labelled_texts import LabelledTextsConfig, load_labelled_texts
from cnn_jax.errors import ConfigError, check_range
from cnn_jax.models import TextClassifier
from cnn_jax.models.text_classifier import Body, Pooling
from cnn_jax.tasks import TextClassification
from cnn_jax.training import (
    ControlConfig,
    Experiment,
    OptimizerConfig,
    Result,
    TrainingConfig,
    Variables,
    compute_dtype,
)
from cnn_jax.visual import compared_curves, confusion_matrix, training_curves
from experiments.tools.run import run
from experiments.tools.words import Options, WordVectors, load_vectors

Start = Literal["random", "static", "non_static"]
EMBEDDING = "embedding"
"""The parameter that holds the vectors of the words."""


@dataclass(frozen=True)
class Config:
    """Networks that read texts."""

    bodies: tuple[Body, ...] = ("cnn", "lstm")
    """What reads the words, a network for each: cnn, lstm, gru, rnn."""
    vectors: str = ""
    """File of word vectors, or a run of word2vec, to start from; empty: random vectors alone."""
    embedding: int = 100
    """Size of a word's vector; that of the file with --vectors."""
    features: int = 100
    """Size of the state, or number of maps of each convolution."""
    layers: int = 1
    """Recurrent layers."""
    bidirectional: bool = True
    """Read from the last word to the first, too."""
    pooling: Pooling = "max"
    """What becomes of the recurrent network's outputs: their mean, their maximum or the last."""
    widths: tuple[int, ...] = (3, 4, 5)
    """Words that each convolution sees at once."""
    dropout: float = 0.5
    """Dropout rate of what the last layer reads, and of a recurrent network's words."""
    data: LabelledTextsConfig = field(default_factory=LabelledTextsConfig)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(name="adam", learning_rate=1e-3, clip_norm=3.0)
    )
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(duration="20 epochs", batch_size=32)
    )
    control: ControlConfig = field(default_factory=ControlConfig)

    def __post_init__(self) -> None:
        check_range(self, 1, embedding=self.embedding, features=self.features, layers=self.layers)
        check_range(self, 1, widths=self.widths)
        check_range(self, 0, 1, dropout=self.dropout)
        if not self.bodies or len(set(self.bodies)) != len(self.bodies):
            raise ConfigError(f"--bodies needs one or several different ones, got {self.bodies}")


SMOKE = replace(
    Config(),
    embedding=8,
    features=8,
    bidirectional=False,
    data=LabelledTextsConfig(length=12),
    training=TrainingConfig(duration="12 steps", batch_size=16, evaluate_every="6 steps"),
)


def build(config: Config) -> Experiment | dict[str, Experiment]:
    """A network for each body, and with vectors for each start."""
    dataset, words = load_labelled_texts(config.data)
    vectors = load_given(config.vectors) if config.vectors else None
    starts: tuple[Start, ...] = ("random", "static", "non_static") if vectors else ("random",)
    size = vectors.vectors.shape[1] if vectors else config.embedding
    experiments: dict[str, Experiment] = {}
    for body in config.bodies:
        model = TextClassifier(
            len(words),
            dataset.num_classes,
            body=body,
            embedding=size,
            features=config.features,
            layers=config.layers,
            bidirectional=config.bidirectional,
            pooling=config.pooling,
            widths=config.widths,
            dropout=config.dropout,
            dtype=compute_dtype(config.training.precision),
        )
        for start in starts:
            name = body if not vectors else f"{body}_{start}"
            experiments[name] = Experiment(
                dataset=dataset,
                task=TextClassification(model, words=words),
                optimizer=config.optimizer,
                training=config.training,
                control=config.control,
                initialize=None if start == "random" else partial(from_vectors, vectors, words),
                trainable=_without_embedding if start == "static" else None,
                figures={
                    "curves": lambda result: training_curves(
                        result.rows, title=f"{result.experiment.dataset.title}, training"
                    ),
                    "confusion": _confusion,
                },
            )
    return experiments if len(experiments) > 1 else next(iter(experiments.values()))


def load_given(name: str) -> WordVectors:
    """The vectors of a file, or of the run in a directory."""
    return load_vectors(Options(run=name) if Path(name).is_dir() else Options(vectors=name))


def from_vectors(
    vectors: WordVectors | None,
    words: tuple[str, ...],
    fresh: Variables,
    earlier: Mapping[str, Result],
) -> Variables:
    """Fresh variables with the given vectors of the words that have one.

    The others stay random, scaled to the deviation of the given ones, as in Kim's experiments.

    Raises:
        ConfigError: no word has one.
    """
    assert vectors is not None
    places = {word: place for place, word in enumerate(vectors.words)}
    known = [token for token, word in enumerate(words) if word in places]
    if not known:
        raise ConfigError(
            f"{vectors.title} has none of the {len(words):,} words of the texts: take vectors of "
            "the same language, in lower case"
        )
    given = vectors.vectors[[places[words[token]] for token in known]]
    table = np.array(fresh["params"][EMBEDDING])
    table *= given.std() / table.std()
    table[known] = given
    return fresh | {"params": fresh["params"] | {EMBEDDING: jnp.asarray(table)}}


def compare(results: Mapping[str, Result]) -> dict[str, Any]:
    """The curves of all networks."""
    title = next(iter(results.values())).experiment.dataset.title
    rows = {name: result.rows for name, result in results.items()}
    return {"compared": compared_curves(rows, ("loss", "accuracy"), title=title)}


def _without_embedding(path: str) -> bool:
    return path != EMBEDDING


def _confusion(result: Result) -> Any:
    dataset, split = result.experiment.dataset, result.held_out
    labels = labels_of(dataset.splits[split])
    predicted = np.argmax(result.outputs(split), axis=-1)
    counts = np.zeros((dataset.num_classes,) * 2, np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return confusion_matrix(counts, dataset.class_names, title=f"{dataset.title}, {split}")


if __name__ == "__main__":
    run(Config, build, smoke=SMOKE, compare=compare)
