"""word2vec: words that occur among the same words get similar vectors.

Lecture: "Word embeddings". Sources: Mikolov et al. 2013, skip-gram and CBOW, with negative sampling
or hierarchical softmax. Figures show the words nearest to some, and a map of the frequent ones.

    python -m experiments.word2vec                          Python's documentation, a minute
    python -m experiments.word2vec --data.name reviews.txt.gz --training.duration '5 epochs'
    python -m experiments.word2vec --objective cbow --output hierarchical_softmax
    python -m experiments.word2vec --data.phrases 2 --words class string --analogy list lists class

`python -m experiments.words --run runs/word2vec/…` asks the vectors of a run, tests them and writes
them to files of word2vec's formats. All stretches of a batch are one update: with several devices
take `--training.batch-size` as many.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from cnn_jax.data import Dataset
from cnn_jax.data.words import WordsConfig, load_words
from cnn_jax.errors import check_range
from cnn_jax.tasks import Word2Vec
from cnn_jax.tasks.word2vec import Objective, Output
from cnn_jax.training import ControlConfig, Experiment, OptimizerConfig, Result, TrainingConfig
from cnn_jax.visual import nearest_sheet, training_curves
from experiments.tools.run import run
from experiments.tools.word_vectors import word2vec_program
from experiments.tools.words import Plane, WordVectors, check_analogy

NEAREST = 7
"""Words that are shown beside each."""
SHOWN = 12
"""Words whose neighbours are shown where none are named."""


@dataclass(frozen=True)
class Config:
    """Vectors of the words of a text."""

    size: int = 100
    """Numbers of a vector."""
    objective: Objective = "skip_gram"
    """skip_gram: each word around predicts the word in the middle; cbow: their mean does."""
    output: Output = "negative_sampling"
    """How a word is predicted: against noise words, or as a path in a Huffman tree."""
    window: int = 5
    """Words on each side at most; the number is drawn for each word."""
    negatives: int = 5
    """Noise words of each pair; without effect on hierarchical softmax."""
    threshold: float = 1e-3
    """Words with a larger share of the text are left out at random; 0: none."""
    learning_rate: float = 0.025
    """At the beginning; it falls linearly to 0."""
    words: tuple[str, ...] = ()
    """Words whose nearest words are shown; by default some of medium frequency."""
    analogy: tuple[str, ...] = ()
    """Three words a, b and c: the figure of neighbours also shows what is to c as b is to a."""
    plane: Plane = "pca"
    """How the map is made: principal components, or t-SNE, which keeps neighbours together."""
    mapped: int = 300
    """Words of the map, the most frequent ones."""
    data: WordsConfig = field(default_factory=WordsConfig)
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            duration="30 epochs",
            batch_size=1,
            eval_batch_size=8,
            evaluate_every="5 epochs",
            save_every="5 epochs",
        )
    )
    control: ControlConfig = field(default_factory=ControlConfig)

    def __post_init__(self) -> None:
        check_range(self, 1, size=self.size, window=self.window, negatives=self.negatives)
        check_range(self, 0, 1, threshold=self.threshold)
        check_range(self, 0, learning_rate=self.learning_rate)
        check_range(self, 2, mapped=self.mapped)
        check_analogy(self.analogy)


SMOKE = replace(
    Config(),
    size=8,
    mapped=30,
    data=WordsConfig(stretch=32),
    training=TrainingConfig(duration="12 steps", batch_size=8, evaluate_every="6 steps"),
)


def build(config: Config) -> Experiment:
    """The training, with neighbours and the map among its figures."""
    dataset = load_words(config.data)
    # Unknown words are told of before the training.
    asked = WordVectors(dataset.class_names, np.zeros((dataset.num_classes, 1)), dataset.title)
    asked.places([*config.words, *config.analogy])
    return Experiment(
        dataset=dataset,
        task=Word2Vec(
            size=config.size,
            objective=config.objective,
            output=config.output,
            window=config.window,
            negatives=config.negatives,
            threshold=config.threshold,
        ),
        program=word2vec_program,
        optimizer=OptimizerConfig(
            name="sgd", learning_rate=config.learning_rate, momentum=0, schedule="linear"
        ),
        training=config.training,
        control=config.control,
        figures=figures(config),
    )


def figures(config: Config) -> dict[str, Callable[[Result], Any]]:
    """Curves, neighbours and the map, by file name."""
    return {
        "curves": lambda result: training_curves(
            result.rows, title=f"{result.experiment.dataset.title}, training"
        ),
        "nearest": lambda result: _nearest(config, result),
        "map": lambda result: _vectors(result).map(config.mapped, config.plane),
    }


def _nearest(config: Config, result: Result) -> Any:
    vectors = _vectors(result)
    found = vectors.nearest(config.words or medium_words(result.experiment.dataset), NEAREST)
    if config.analogy:
        found |= vectors.analogy(config.analogy, NEAREST)
    return nearest_sheet(found, title=f"{vectors.title}: the nearest words, with their cosines")


def medium_words(dataset: Dataset) -> tuple[str, ...]:
    """Words that are neither among the most frequent nor rare."""
    number = dataset.num_classes
    ranks = np.geomspace(min(50, number / 4), min(1000, number - 1), SHOWN).astype(int)
    return tuple(dataset.class_names[rank] for rank in dict.fromkeys(ranks.tolist()))


def _vectors(result: Result) -> WordVectors:
    dataset = result.experiment.dataset
    vectors = np.asarray(result.variables["params"]["inputs"])
    return WordVectors(dataset.class_names, vectors, dataset.title)


if __name__ == "__main__":
    run(Config, build, smoke=SMOKE)
