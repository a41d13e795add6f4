"""word2vec: vectors of words from the words around them, with negative sampling.

Sources: Mikolov, Chen, Corrado, Dean 2013 ("Efficient estimation of word representations in vector
space"), skip-gram and CBOW; Mikolov, Sutskever, Chen, Corrado, Dean 2013 ("Distributed
representations of words and phrases and their compositionality"), negative sampling and the
subsampling of frequent words. Windows, rates and initialization are those of the authors' program
and of gensim.

Two things are arranged for vector units. A stretch of text is one step: which of its words are near
each other is a mask, and the scores of all pairs are one product of matrices, of which the mask
selects. And all words of a stretch share their noise words, each of which counts less in return, so
that the expected loss is the same; Ji, Satish, Li and Dubey 2016 ("Parallelizing word2vec in shared
and distributed memory", section 3.1) share them within a window. Vectors of words that are neither
in the stretch nor in its noise are not touched.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

Objective = Literal["skip_gram", "cbow"]
BREAK = -1
"""The token between two sentences, which no window crosses."""
NOISE_BITS = 20
"""Noise words are drawn from a table of 2**20 entries."""
SPARE = 4.0
"""Standard deviations of the number of kept words for which there is room."""


class Vectors(NamedTuple):
    """The parameters: two vectors for every word.

    Attributes:
        inputs: those of words around; the result.
        outputs: those of words in the middle, which are predicted.
    """

    inputs: Float[Array, "vocabulary size"]
    outputs: Float[Array, "vocabulary size"]


class Stretch(NamedTuple):
    """The words of a stretch of text that were kept.

    Attributes:
        tokens: the words in turn; 0 beyond the last one.
        near: whether word j (column) is in the window around word i (row).
    """

    tokens: Int[Array, " kept"]
    near: Bool[Array, "kept kept"]


def init_vectors(key: Key[Array, ""], vocabulary: int, size: int) -> Vectors:
    """Inputs uniform in ±1 / (2 size), outputs zero."""
    inputs = (jax.random.uniform(key, (vocabulary, size)) - 0.5) / size
    return Vectors(inputs, jnp.zeros_like(inputs))


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


def noise_table(
    counts: Int[np.ndarray, " vocabulary"], power: float = 0.75
) -> Int[np.ndarray, " entries"]:
    """Words, each as often as the noise has it: in proportion to counts ** power."""
    ends = np.cumsum(counts.astype(np.float64) ** power)
    middles = (np.arange(2**NOISE_BITS) + 0.5) / 2**NOISE_BITS
    return np.searchsorted(ends / ends[-1], middles).astype(np.int32)


def room_for_kept(length: int, share: float) -> int:
    """Number of words for which there is room where a share of them is kept on average.

    Of a stretch in which by chance more are kept, the last ones are left out; that happens once in
    30,000 stretches.
    """
    deviation = (length * share * (1 - share)) ** 0.5
    return min(length, int(np.ceil(length * share + SPARE * deviation)))


def draw_stretch(
    key: Key[Array, ""],
    tokens: Int[Array, " length"],
    keep: Float[Array, " vocabulary"],
    window: int,
    room: int,
) -> Stretch:
    """Leave out frequent words at random, and draw a window around each word that is kept.

    The words that are left out take no place: windows reach over them. A window has 1 to `window`
    words on each side, each number equally often, of the same sentence.

    Args:
        key: decides.
        tokens: words, and `BREAK` between sentences.
        keep: `keep_probabilities`.
        window: words on each side at most.
        room: see `room_for_kept`.
    """
    keep_key, window_key = jax.random.split(key)
    words = jnp.maximum(tokens, 0)
    kept = (tokens >= 0) & (jax.random.uniform(keep_key, tokens.shape) < keep[words])
    place = jnp.where(kept, jnp.cumsum(kept) - 1, room)
    sentence = jnp.full(room, -1).at[place].set(jnp.cumsum(tokens == BREAK), mode="drop")
    words = jnp.zeros(room, jnp.int32).at[place].set(words, mode="drop")
    reach = jax.random.randint(window_key, (room,), 1, window + 1)
    at = jnp.arange(room)
    distance = jnp.abs(at[:, None] - at[None])
    near = (distance >= 1) & (distance <= reach[:, None])
    there = sentence >= 0
    near &= (sentence[:, None] == sentence[None]) & there[:, None] & there[None]
    return Stretch(words, near)


def skip_gram_loss(
    inputs: Float[Array, "kept size"],
    outputs: Float[Array, "kept size"],
    noise: Float[Array, "drawn size"],
    near: Bool[Array, "kept kept"],
    negatives: float,
) -> Float[Array, ""]:
    """The summed loss of all pairs: each word around predicts the word in the middle.

    Args:
        inputs: vectors of the words, as those around.
        outputs: vectors of the words, as those in the middle.
        noise: output vectors of noise words, which all pairs share.
        near: of the stretch.
        negatives: noise words of a pair.
    """
    pairs = near.astype(inputs.dtype)
    right = jnp.sum(pairs * jax.nn.softplus(-(outputs @ inputs.T)))
    wrong = jnp.sum(jax.nn.softplus(inputs @ noise.T), axis=1)
    return right + negatives / len(noise) * jnp.sum(jnp.sum(pairs, axis=0) * wrong)


def cbow_loss(
    inputs: Float[Array, "kept size"],
    outputs: Float[Array, "kept size"],
    noise: Float[Array, "drawn size"],
    near: Bool[Array, "kept kept"],
    negatives: float,
) -> Float[Array, ""]:
    """The summed loss of all words: the mean of those around predicts the word in the middle.

    A word with none around has no loss. See `skip_gram_loss`.
    """
    pairs = near.astype(inputs.dtype)
    number = jnp.sum(pairs, axis=1)
    around = (pairs @ inputs) / jnp.maximum(number, 1)[:, None]
    right = jax.nn.softplus(-jnp.sum(around * outputs, axis=1))
    wrong = jnp.sum(jax.nn.softplus(around @ noise.T), axis=1)
    return jnp.sum((number > 0) * (right + negatives / len(noise) * wrong))


LOSSES = {"skip_gram": skip_gram_loss, "cbow": cbow_loss}


def loss_and_gradients(
    vectors: Vectors,
    stretch: Stretch,
    noise: Int[Array, " drawn"],
    objective: Objective,
    negatives: float,
) -> tuple[Float[Array, ""], dict[str, tuple[Array, Array]]]:
    """The loss of a stretch, and by the names of the tables the touched rows and their gradients.

    A row that occurs several times has several gradients, which add up.
    """
    number = len(stretch.tokens)
    places = {"inputs": stretch.tokens, "outputs": jnp.concatenate([stretch.tokens, noise])}
    rows = {name: getattr(vectors, name)[place] for name, place in places.items()}

    def loss(rows: dict[str, Array]) -> Array:
        outputs, of_noise = rows["outputs"][:number], rows["outputs"][number:]
        return LOSSES[objective](rows["inputs"], outputs, of_noise, stretch.near, negatives)

    value, gradients = jax.value_and_grad(loss)(rows)
    return value, {name: (places[name], gradients[name]) for name in places}


def terms(stretch: Stretch, objective: Objective) -> Float[Array, ""]:
    """Of how many pairs, or with "cbow" of how many words, a stretch's loss is the sum."""
    near = stretch.near if objective == "skip_gram" else jnp.any(stretch.near, axis=1)
    return jnp.sum(near, dtype=jnp.float32)


def step_along(vectors: Vectors, touched: dict[str, tuple[Array, Array]], rate: Any) -> Vectors:
    """Gradient descent of the touched rows. One update a table, so that none is copied."""
    tables = vectors._asdict()
    for name, (places, gradients) in touched.items():
        tables[name] = tables[name].at[places].add(-rate * gradients)
    return Vectors(**tables)
