"""Stretches of text as blocks of words with the words around them, for word2vec.

Source: Mikolov et al. 2013 ("Distributed representations of words and phrases and their
compositionality"): the subsampling of frequent words. Windows are those of the authors' program
and of gensim.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

BREAK = -1
"""The token between two sentences, which no window crosses."""
SPARE = 4.0
"""Standard deviations of the number of kept words for which there is room."""


class Blocks(NamedTuple):
    """The words of a stretch that were kept, in blocks that follow each other.

    Attributes:
        middle: words of each block; 0 where there is none.
        around: the same words, with those of a window before and behind them.
        near: whether a word (last axis) is in the window around a word in the middle.
    """

    middle: Int[Array, "blocks size"]
    around: Int[Array, "blocks reach"]
    near: Bool[Array, "blocks size reach"]


def keep_probabilities(
    counts: Int[np.ndarray, " vocabulary"], threshold: float = 1e-3
) -> Float[np.ndarray, " vocabulary"]:
    """With which probability each occurrence of a word is kept, as in word2vec's program.

    Words with a share of the text above the threshold are kept less often:
    sqrt(threshold / share) + threshold / share.

    Args:
        counts: how often each word occurs.
        threshold: a share of the text; 0 keeps all.
    """
    if not threshold:
        return np.ones(len(counts), np.float32)
    ratio = threshold * counts.sum() / np.maximum(counts, 1)
    return np.minimum(np.sqrt(ratio) + ratio, 1).astype(np.float32)


def blocks_of(length: int, share: float, size: int) -> int:
    """Number of blocks of a stretch of which a share of the words is kept on average.

    Of a stretch in which by chance more are kept, the last ones are left out; that happens once in
    30,000 stretches.

    Args:
        length: words of the stretch.
        share: of the words that are kept.
        size: words of a block.
    """
    deviation = (length * share * (1 - share)) ** 0.5
    return int(np.ceil(min(length, length * share + SPARE * deviation) / size))


def draw_blocks(
    key: Key[Array, ""],
    tokens: Int[Array, " length"],
    keep: Float[Array, " vocabulary"],
    *,
    window: int,
    size: int,
    number: int,
) -> Blocks:
    """Leave out frequent words at random, and draw a window around each word that is kept.

    The words that are left out take no place: windows reach over them. A window has 1 to `window`
    words on each side, each number equally often, of the same sentence.

    Args:
        key: decides.
        tokens: words, and `BREAK` between sentences.
        keep: `keep_probabilities`.
        window: words on each side at most.
        size: words of a block.
        number: of blocks, see `blocks_of`; what does not fit is left out.
    """
    keep_key, window_key = jax.random.split(key)
    words = jnp.maximum(tokens, 0)
    kept = (tokens >= 0) & (jax.random.uniform(keep_key, tokens.shape) < keep[words])
    room, beyond = number * size, number * size + 2 * window
    count = jnp.cumsum(kept)
    place = jnp.where(kept & (count <= room), window + count - 1, beyond)
    sentence = jnp.full(beyond, -1).at[place].set(jnp.cumsum(tokens == BREAK), mode="drop")
    words = jnp.zeros(beyond, tokens.dtype).at[place].set(words, mode="drop")

    reach = np.arange(size + 2 * window)
    places = np.arange(number)[:, None] * size + reach
    around, sentences = words[places], sentence[places]
    middle = slice(window, window + size)
    widths = jax.random.randint(window_key, (number, size, 1), 1, window + 1)
    distance = np.abs(reach[middle, None] - reach)[None]
    same = sentences[:, middle, None] == sentences[:, None]
    near = (distance >= 1) & (distance <= widths) & same & (sentences[:, middle, None] >= 0)
    return Blocks(around[:, middle], around, near)
