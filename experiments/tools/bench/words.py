"""word2vec, epoch by epoch: words per second of ours and gensim's, and what the vectors know.

Both train on the same words of a text with the same settings, and each round is an epoch of both.
With more seeds there is a comparison for each. At its end the vectors are tested: files of
analogies give the share that 3CosAdd answers, files of pairs of words Spearman's correlation.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from cnn_jax.data import Dataset, WindowSplit
from cnn_jax.data.text import read_text
from cnn_jax.data.word_tests import read_analogies, read_word_pairs
from cnn_jax.data.words import BREAK, WordsConfig, load_words, word_counts
from cnn_jax.errors import check_range
from cnn_jax.tasks.word2vec import Objective
from cnn_jax.tasks.word_scores import analogy_scores, similarity_score
from cnn_jax.training import TrainingConfig, make_parallel, prepare_run
from experiments import word2vec
from experiments.tools.bench.comparison import Comparison, in_turn
from experiments.tools.bench.options import Rounds
from experiments.tools.bench.ours import set_up
from experiments.tools.bench.processes import Side, started
from experiments.tools.bench.side import Missing, RunSteps

LAST_RATE = 1e-4
"""gensim's learning rate at the end."""


@dataclass(frozen=True)
class Options(Rounds):
    """word2vec: ours and gensim's."""

    text: str = "python"
    """Text file, plain or .gz, or "python": Python's documentation."""
    tests: tuple[str, ...] = ()
    """Files that the vectors are tested on: analogies, or pairs of words with judgements."""
    rounds: int = 5
    """Measurements of each side, in turn, each of an epoch: the length of the training."""
    seeds: tuple[int, ...] = (0,)
    """A comparison for each."""
    size: int = 100
    """Numbers of a vector."""
    window: int = 5
    """Words on each side at most."""
    negatives: int = 5
    """Noise words of each pair."""
    objective: Objective = "skip_gram"
    """What predicts what."""
    learning_rate: float = 0.025
    """At the beginning; it falls linearly."""
    least_count: int = 5
    """Times that a word must occur."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, 0, seeds=self.seeds, learning_rate=self.learning_rate)
        check_range(self, 1, size=self.size, window=self.window, negatives=self.negatives)
        check_range(self, 1, least_count=self.least_count)


def measure(options: Options, console: Console) -> Iterable[Comparison]:
    """One comparison per seed."""
    tests = [str(Path(path).resolve()) for path in options.tests]
    text = "python" if options.text == "python" else str(Path(options.text).resolve())
    words = int(word_counts(_dataset(text, options.least_count)).sum())
    for seed in options.seeds:
        arguments = {
            "text": text,
            "tests": tests,
            "epochs": options.rounds,
            "seed": seed,
            "size": options.size,
            "window": options.window,
            "negatives": options.negatives,
            "objective": options.objective,
            "learning_rate": options.learning_rate,
            "least_count": options.least_count,
        }
        sides = [
            Side("cnn_jax", f"{__name__}:ours", arguments),
            Side("gensim", f"{__name__}:gensim", arguments, needed=False),
        ]
        with started(sides, console) as processes:
            asked = [
                lambda process=process: process.ask({"measure": "run", "steps": 1})
                for process in processes
            ]
            rows = in_turn(asked, options.rounds)
            scores = {
                process.name: process.ask({"measure": "run", "steps": 0})["numbers"]
                for process in processes
            }
        answers = {process.name: row for process, row in zip(processes, rows, strict=True)}
        values = {
            name: [words / answer["seconds"] for answer in row] for name, row in answers.items()
        }
        notes = [
            f"{name}: "
            + ", ".join(f"{Path(t).name} {s:.4f}" for t, s in zip(tests, found, strict=True))
            for name, found in scores.items()
            if tests
        ]
        title = f"word2vec, {options.objective}, {Path(options.text).name}, {words:,} words an "
        title += f"epoch, {options.rounds} epochs, seed {seed}"
        details = {"answers": answers, "scores": scores}
        yield Comparison(title, "words/s", values, tuple(notes), details)


def ours(
    *,
    text: str,
    tests: Sequence[str],
    epochs: int,
    seed: int,
    learning_rate: float,
    least_count: int,
    **options: Any,
) -> RunSteps:
    """An epoch a step as the experiment trains, on all devices; no step tests the vectors."""
    set_up()
    config = word2vec.Config(
        learning_rate=learning_rate,
        data=_config(text, least_count),
        training=TrainingConfig(f"{epochs} epochs", batch_size=jax.device_count()),
        **options,
    )
    experiment = word2vec.build(config)
    plan, runner = prepare_run(experiment, make_parallel("jit"), seed=seed)
    fresh = runner.init()
    zeros = jax.tree.map(np.asarray, runner.zero_sums(fresh))
    runner.advance(fresh, runner.parallel.place(zeros), 1)  # compiles
    state = runner.init()

    def run(n: int) -> list[float]:
        nonlocal state
        if not n:
            vectors = np.asarray(state.params["inputs"])
            return scores(experiment.dataset.class_names, vectors, tests)
        steps = n * plan.steps_per_epoch
        state, sums = runner.advance(state, runner.parallel.place(zeros), steps)
        return [float(sums["loss"] / sums["weight"])]

    return run


def gensim(
    *,
    text: str,
    tests: Sequence[str],
    epochs: int,
    seed: int,
    size: int,
    window: int,
    negatives: int,
    objective: Objective,
    learning_rate: float,
    least_count: int,
) -> RunSteps:
    """An epoch a step, in as many threads as there are processors; no step tests the vectors."""
    try:
        from gensim.models import Word2Vec
    except ImportError:
        raise Missing("gensim is not installed: pip install gensim") from None

    sentences = _sentences(_dataset(text, least_count))
    model = Word2Vec(
        vector_size=size,
        window=window,
        negative=negatives,
        sg=int(objective == "skip_gram"),
        min_count=1,
        sample=1e-3,
        seed=seed,
        workers=len(os.sched_getaffinity(0)),
    )
    model.build_vocab(sentences)
    done = 0

    def rate(epoch: int) -> float:
        return learning_rate - (learning_rate - LAST_RATE) * epoch / epochs

    def run(n: int) -> list[float]:
        nonlocal done
        if not n:
            return scores(tuple(model.wv.index_to_key), model.wv.vectors, tests)
        start, done = done, done + n
        model.train(
            sentences,
            total_examples=model.corpus_count,
            epochs=n,
            start_alpha=rate(start),
            end_alpha=rate(done),
        )
        return []

    return run


def scores(words: tuple[str, ...], vectors: np.ndarray, tests: Sequence[str]) -> list[float]:
    """The result of each test."""
    return [_score(words, vectors, path) for path in tests]


def _score(words: tuple[str, ...], vectors: np.ndarray, path: str) -> float:
    if read_text(path).lstrip().startswith(":"):
        return analogy_scores(words, vectors, read_analogies(path))["total"].accuracy
    return similarity_score(words, vectors, read_word_pairs(path)).spearman


def _config(text: str, least_count: int) -> WordsConfig:
    return WordsConfig(name=text, least_count=least_count, validation=0)


def _dataset(text: str, least_count: int) -> Dataset:
    return load_words(_config(text, least_count))


def _sentences(dataset: Dataset) -> list[list[str]]:
    split = dataset.splits["train"]
    assert isinstance(split, WindowSplit)
    ends = np.flatnonzero(split.tokens == BREAK)
    parts = np.split(split.tokens, ends)
    named = ([dataset.class_names[token] for token in part[part >= 0]] for part in parts)
    return [sentence for sentence in named if sentence]
