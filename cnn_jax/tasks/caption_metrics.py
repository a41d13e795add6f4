"""Metrics of captions: BLEU, and which words are right. A caption is a sequence of words."""

import math
from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np

from cnn_jax.errors import ConfigError
from cnn_jax.tasks.metrics import mean

Caption = Sequence[Hashable]
Runs = Counter[tuple[Hashable, ...]]


def bleu(
    captions: Sequence[Caption], references: Sequence[Sequence[Caption]], *, most: int = 4
) -> tuple[float, ...]:
    """BLEU-1 to BLEU-4 of all captions together, without smoothing (Papineni et al. 2002).

    BLEU-n is the geometric mean of the precisions of the runs of 1 to n words, times the brevity
    penalty. A run counts as often as it is in one reference at most. The length that the penalty
    compares with is that of each caption's closest reference, the shorter one of two.

    Args:
        captions: one for each image.
        references: at least one for each image.
        most: the largest n.

    Raises:
        ConfigError: another number of references, or an image without any.
    """
    if len(captions) != len(references) or not all(map(len, references)):
        raise ConfigError(
            f"BLEU needs references for each of {len(captions)} captions, got {len(references)}, "
            f"the fewest {min(map(len, references), default=0)}"
        )
    found, written = np.zeros(most), np.zeros(most)
    length = closest = 0
    for caption, of_image in zip(captions, references, strict=True):
        own = len(caption)
        length += own
        closest += min(map(len, of_image), key=lambda other: (abs(other - own), other))
        for n in range(1, most + 1):
            allowed: Runs = Counter()
            for reference in of_image:
                allowed |= _runs(reference, n)
            found[n - 1] += (_runs(caption, n) & allowed).total()
            written[n - 1] += max(own - n + 1, 0)
    penalty = math.exp(min(0.0, 1 - closest / length)) if length else 0.0
    with np.errstate(divide="ignore"):
        logarithms = np.log(found / np.maximum(written, 1))
    means = np.exp(np.cumsum(logarithms) / np.arange(1, most + 1))
    return tuple((penalty * means).tolist())


def _runs(caption: Caption, n: int) -> Runs:
    return Counter(tuple(caption[start : start + n]) for start in range(len(caption) - n + 1))


@dataclass(frozen=True)
class Alignment:
    """A caption beside the reference that is most like it.

    Attributes:
        reference: its place among the references.
        right: of each word of the caption, whether the reference has it too, in the same order.
        said: of each word of the reference, whether the caption has it too.
    """

    reference: int
    right: tuple[bool, ...]
    said: tuple[bool, ...]


def align(caption: Caption, references: Sequence[Caption]) -> Alignment:
    """Compare a caption with the reference that is most like it, the first of several.

    Words are aligned, and likeness is measured, as by `difflib.SequenceMatcher`: by the longest
    run of equal words, and so on beside it.
    """
    matchers = [SequenceMatcher(None, caption, one, autojunk=False) for one in references]
    ratios = [matcher.ratio() for matcher in matchers]
    nearest = int(np.argmax(ratios))
    right, said = np.zeros(len(caption), bool), np.zeros(len(references[nearest]), bool)
    for block in matchers[nearest].get_matching_blocks():
        right[block.a : block.a + block.size] = True
        said[block.b : block.b + block.size] = True
    return Alignment(nearest, tuple(right.tolist()), tuple(said.tolist()))


def right_words(
    captions: Sequence[Caption],
    references: Sequence[Sequence[Caption]],
    kinds: Mapping[str, Collection[Hashable]],
) -> dict[str, float]:
    """The share of the words of each kind that a caption should have, and has.

    They are those of the reference that is most like it, see `align`.

    Args:
        captions: one for each image.
        references: at least one for each image.
        kinds: words by their kind.
    """
    found, there = Counter[str](), Counter[str]()
    for caption, of_image in zip(captions, references, strict=True):
        aligned = align(caption, of_image)
        for word, said in zip(of_image[aligned.reference], aligned.said, strict=True):
            for kind, words in kinds.items():
                there[kind] += word in words
                found[kind] += word in words and said
    return {kind: mean(found[kind], there[kind]) for kind in kinds}
