"""What word vectors know: analogies, and how similar words are."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import spearmanr

Method = Literal["3CosAdd", "3CosMul"]
AT_ONCE = 512
"""Analogies that are answered at once; more would need more memory."""
EPSILON = 1e-3
"""Added to the denominator of 3CosMul (Levy and Goldberg 2014, section 4)."""


class Share(NamedTuple):
    """How many of the questions with known words were answered rightly."""

    right: int
    known: int
    asked: int

    @property
    def accuracy(self) -> float:
        """Of those with known words; NaN if there are none."""
        return self.right / self.known if self.known else float("nan")


class Similarity(NamedTuple):
    """The rank correlation of cosines with people's judgements.

    Attributes:
        spearman: Spearman's, over pairs of known words; NaN for fewer than two.
        known: number of these pairs.
        asked: number of all pairs.
    """

    spearman: float
    known: int
    asked: int


def unit_rows(vectors: Float[np.ndarray, "words size"]) -> Float[np.ndarray, "words size"]:
    """The vectors, each divided by its length; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def nearest_words(
    units: Float[np.ndarray, "words size"], words: Int[np.ndarray, " asked"], number: int
) -> tuple[Int[np.ndarray, "asked found"], Float[np.ndarray, "asked found"]]:
    """The words with the largest cosines to each of some words, without itself, and the cosines.

    All other words, if there are no more.
    """
    cosines = units[words] @ units.T
    cosines[np.arange(len(words)), words] = -np.inf
    order = np.argsort(-cosines, axis=1, kind="stable")[:, : min(number, len(units) - 1)]
    return order, np.take_along_axis(cosines, order, axis=1)


def nearest_to_analogy(
    units: Float[np.ndarray, "words size"], question: Int[np.ndarray, " 3"], number: int
) -> tuple[Int[np.ndarray, " found"], Float[np.ndarray, " found"]]:
    """The words with the largest cosines to b - a + c, without a, b and c, and the cosines."""
    a, b, c = units[question]
    wanted = b - a + c
    cosines = units @ (wanted / max(float(np.linalg.norm(wanted)), 1e-30))
    cosines[question] = -np.inf
    order = np.argsort(-cosines, kind="stable")[: min(number, len(units) - len(set(question)))]
    return order, cosines[order]


def solve_analogies(
    units: Float[np.ndarray, "words size"],
    questions: Int[np.ndarray, "questions 3"],
    method: Method = "3CosAdd",
) -> Int[np.ndarray, " questions"]:
    """The word d of "a is to b as c is to d", which is none of the three.

    Args:
        units: `unit_rows` of the vectors.
        questions: the words a, b and c.
        method: "3CosAdd" takes the word nearest to b - a + c (Mikolov, Yih, Zweig 2013); "3CosMul"
            the one with the largest cos(d, b) cos(d, c) / cos(d, a), of cosines shifted to be
            between 0 and 1 (Levy and Goldberg 2014).
    """
    answers = []
    for start in range(0, len(questions), AT_ONCE):
        asked = questions[start : start + AT_ONCE]
        a, b, c = (units[asked[:, place]] for place in range(3))
        if method == "3CosAdd":
            scores = (b - a + c) @ units.T
        else:
            of_a, of_b, of_c = ((1 + rows @ units.T) / 2 for rows in (a, b, c))
            scores = of_b * of_c / (of_a + EPSILON)
        np.put_along_axis(scores, asked, -np.inf, axis=1)
        answers.append(np.argmax(scores, axis=1))
    return np.concatenate(answers) if answers else np.zeros(0, np.int64)


def analogy_scores(
    words: Sequence[str],
    vectors: Float[np.ndarray, "words size"],
    sections: Mapping[str, Sequence[tuple[str, str, str, str]]],
    method: Method = "3CosAdd",
) -> dict[str, Share]:
    """The analogies that are answered rightly, by section, and of all as "total".

    Questions with a word that has no vector are left out, as in word2vec's program and gensim.
    """
    places, units = {word: place for place, word in enumerate(words)}, unit_rows(vectors)
    scores = {}
    for name, questions in sections.items():
        known = [
            [places[word] for word in question]
            for question in questions
            if all(word in places for word in question)
        ]
        table = np.array(known, np.int64).reshape(-1, 4)
        right = int(np.sum(solve_analogies(units, table[:, :3], method) == table[:, 3]))
        scores[name] = Share(right, len(known), len(questions))
    total = (sum(share[part] for share in scores.values()) for part in range(3))
    return scores | {"total": Share(*total)}


def similarity_score(
    words: Sequence[str],
    vectors: Float[np.ndarray, "words size"],
    pairs: Sequence[tuple[str, str, float]],
) -> Similarity:
    """How well cosines agree with people's judgements of how similar two words are.

    Pairs with a word that has no vector are left out.
    """
    places, units = {word: place for place, word in enumerate(words)}, unit_rows(vectors)
    known = [(places[a], places[b], score) for a, b, score in pairs if a in places and b in places]
    if len(known) < 2:
        return Similarity(float("nan"), len(known), len(pairs))
    first, second, judged = zip(*known, strict=True)
    cosines = np.sum(units[list(first)] * units[list(second)], axis=1)
    return Similarity(float(spearmanr(cosines, judged)[0]), len(known), len(pairs))
