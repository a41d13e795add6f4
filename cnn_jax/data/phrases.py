"""Phrases: pairs of words that occur together more often than alone, joined to one word.

Source: Mikolov, Sutskever, Chen, Corrado, Dean 2013 ("Distributed representations of words and
phrases and their compositionality"), section 4, and the authors' program word2phrase.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int64


class Phrases(NamedTuple):
    """Pairs of tokens that are phrases.

    Attributes:
        keys: first * words + second, ascending.
        words: number of words that the pairs are of.
    """

    keys: Int64[np.ndarray, " phrases"]
    words: int

    def names(self, words: Sequence[str]) -> tuple[str, ...]:
        """Each phrase as its two words, joined by "_"."""
        pairs = zip(*np.divmod(self.keys, self.words), strict=True)
        return tuple(f"{words[first]}_{words[second]}" for first, second in pairs)


def find_phrases(
    tokens: Int[np.ndarray, " n"], words: int, *, threshold: float, discount: int
) -> Phrases:
    """The pairs of words whose score is above the threshold.

    The score is (count(first second) - discount) / (count(first) count(second)) * count(all).

    Args:
        tokens: the text, and negative numbers between sentences.
        words: number of words.
        threshold: a higher one gives fewer phrases; 100 in word2phrase.
        discount: keeps very rare pairs from being phrases; words that are as rare are in none.
    """
    counts = np.bincount(tokens[tokens >= 0], minlength=words)
    pairs, number = np.unique(_pairs(tokens, words), return_counts=True)
    pairs, number = pairs[pairs >= 0], number[pairs >= 0]
    first, second = np.divmod(pairs, words)
    of_words = counts[first].astype(np.float64) * counts[second]
    scores = (number - discount) / np.maximum(of_words, 1) * counts.sum()
    frequent = np.minimum(counts[first], counts[second]) >= discount
    return Phrases(pairs[(scores > threshold) & frequent], words)


def join_phrases(tokens: Int[np.ndarray, " n"], phrases: Phrases) -> Int64[np.ndarray, " m"]:
    """The text with one token, words + i, for each occurrence of phrase i.

    The text is read from left to right: where phrases overlap, the first one counts.
    """
    keys = _pairs(tokens, phrases.words)
    places = np.searchsorted(phrases.keys, keys)
    found = np.zeros(len(tokens), bool)
    if len(phrases.keys):
        found[:-1] = phrases.keys[np.minimum(places, len(phrases.keys) - 1)] == keys
    # Of phrases that overlap in a row, every other one.
    at = np.arange(len(tokens))
    begins = np.maximum.accumulate(np.where(found, 0, at + 1))
    found &= (at - begins) % 2 == 0
    joined = tokens.astype(np.int64)
    joined[found] = phrases.words + places[found[:-1]]
    second = np.concatenate([[False], found[:-1]])
    return joined[~second]


def _pairs(tokens: np.ndarray, words: int) -> Int64[np.ndarray, " pairs"]:
    """The key of each two tokens that follow each other; -1 where one is no word."""
    first, second = tokens[:-1].astype(np.int64), tokens[1:].astype(np.int64)
    return np.where((first >= 0) & (second >= 0), first * words + second, -1)
