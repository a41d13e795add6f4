"""word2vec: vectors of words from the words around them.

Sources: Mikolov, Chen, Corrado, Dean 2013 ("Efficient estimation of word representations in vector
space"), skip-gram, CBOW and hierarchical softmax; Mikolov, Sutskever, Chen, Corrado, Dean 2013
("Distributed representations of words and phrases and their compositionality"), negative sampling.
Windows, rates and initialization are those of the authors' program and of gensim. CBOW follows the
gradient of the mean, as Irsoy, Benton, Stratos 2020 ("Corrected CBOW performs as well as
skip-gram") do; both programs leave out its division by the number of words.

Two things are arranged for vector units. The scores of all pairs of a block of words are one
product of matrices, of which a mask selects those that are near each other. And all words of a
block share their noise words, each of which counts less in return, so that the expected loss is the
same; Ji, Satish, Li, Dubey 2016 ("Parallelizing word2vec in shared and distributed memory", section
3.1) share them within a window. Noise may hold the predicted word, which both programs leave out.
Vectors of words that are neither in the text of a step nor in its noise are not touched.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from cnn_jax.errors import ConfigError
from cnn_jax.tasks.huffman import Paths, huffman_paths
from cnn_jax.tasks.metrics import mean
from cnn_jax.tasks.word_blocks import Blocks, blocks_of, draw_blocks, keep_probabilities

Objective = Literal["skip_gram", "cbow"]
Output = Literal["negative_sampling", "hierarchical_softmax"]
NOISE_POWER = 0.75


class Vectors(NamedTuple):
    """The parameters: two vectors for every word.

    Attributes:
        inputs: those of words around; the result.
        outputs: those of words in the middle, which are predicted; with hierarchical softmax those
            of the inner nodes of the tree, the last of which is unused.
    """

    inputs: Float[Array, "vocabulary size"]
    outputs: Float[Array, "vocabulary size"]


class Noise(NamedTuple):
    """A distribution of words: word i is drawn as often as any other, and then stays or changes.

    Attributes:
        share: of the draws of each word that stay.
        other: what the others become.
    """

    share: Float[np.ndarray, " words"]
    other: Int[np.ndarray, " words"]


class Tables(NamedTuple):
    """What is computed of the counts of the words before a training.

    Attributes:
        keep: probability with which each occurrence of a word is kept.
        share: of the text that is kept on average.
        noise: how noise words are drawn; None with hierarchical softmax.
        paths: in the tree; None with negative sampling.
    """

    keep: np.ndarray
    share: float
    noise: Noise | None
    paths: Paths | None


class Targets(NamedTuple):
    """What a block predicts: each row whether or not it is so, of the words or nodes `places`.

    Attributes:
        places: rows of `Vectors.outputs`.
        signs: 1 for what is so, -1 for what is not, 0 for rows that do not count.
    """

    places: Int[Array, "blocks targets"]
    signs: Float[Array, "blocks targets"]


@dataclass(frozen=True)
class Word2Vec:
    """Vectors of words, each of which predicts the words near it, or is predicted by their mean.

    Attributes:
        size: of the vectors.
        objective: "skip_gram": each word around predicts the word in the middle; "cbow": their mean
            does.
        output: how a word is predicted: against noise words, or as a path in a Huffman tree.
        window: words on each side at most.
        negatives: noise words of a pair.
        threshold: see `keep_probabilities`.
        block: words that share their noise words.
        drawn: these noise words.
    """

    size: int = 100
    objective: Objective = "skip_gram"
    output: Output = "negative_sampling"
    window: int = 5
    negatives: int = 5
    threshold: float = 1e-3
    block: int = 32
    drawn: int = 32

    metrics: ClassVar[tuple[str, ...]] = ("loss",)
    best_metric: ClassVar[str] = "loss"
    higher_is_better: ClassVar[bool] = False

    def check(self, dataset: Any) -> None:
        """Raise ConfigError if the training text is no text, or shorter than a window."""
        if "tokens" not in dataset.spec:
            raise ConfigError(
                f"word vectors need a text: {dataset.title} has {', '.join(dataset.spec)}"
            )
        words = int(np.sum(dataset.splits["train"].tokens >= 0))
        if words <= self.window:
            raise ConfigError(
                f"{dataset.title} has {words} words of the vocabulary for training, and a window "
                f"of {self.window} takes {self.window + 1}: take a longer text, a smaller --window "
                "or a lower --data.least-count"
            )

    def tables(self, counts: Int[np.ndarray, " vocabulary"]) -> Tables:
        """What a training needs of the counts of the words."""
        keep = keep_probabilities(counts, self.threshold)
        share = float((keep * counts).sum() / counts.sum())
        if self.output == "negative_sampling":
            return Tables(keep, share, noise_table(counts), None)
        return Tables(keep, share, None, huffman_paths(counts))

    def init(self, key: Key[Array, ""], vocabulary: int) -> Vectors:
        """Inputs uniform in ±1 / (2 size), outputs zero."""
        inputs = (jax.random.uniform(key, (vocabulary, self.size)) - 0.5) / self.size
        return Vectors(inputs, jnp.zeros_like(inputs))

    def draw(
        self, key: Key[Array, ""], tokens: Int[Array, " length"], tables: Tables
    ) -> tuple[Blocks, Targets]:
        """What is learned of a stretch of text."""
        block_key, noise_key = jax.random.split(key)
        number = blocks_of(len(tokens), tables.share, self.block)
        blocks = draw_blocks(
            block_key,
            tokens,
            jnp.asarray(tables.keep),
            window=self.window,
            size=self.block,
            number=number,
        )
        if tables.noise is not None:
            noise = draw_noise(noise_key, tables.noise, (number, self.drawn))
            places = jnp.concatenate([blocks.middle, noise], axis=1)
            signs = jnp.where(jnp.arange(places.shape[1]) < self.block, 1.0, -1.0)
            return blocks, Targets(places, jnp.broadcast_to(signs, places.shape))
        assert tables.paths is not None
        nodes, signs = (jnp.asarray(part)[blocks.middle] for part in tables.paths)
        return blocks, Targets(nodes.reshape(number, -1), signs.reshape(number, -1))

    def block_loss(
        self,
        around: Float[Array, "reach size"],
        outputs: Float[Array, "targets size"],
        near: Float[Array, "block reach"],
        signs: Float[Array, " targets"],
    ) -> Float[Array, ""]:
        """The summed loss of a block: of all pairs, or with "cbow" of all words with words around.

        Args:
            around: input vectors.
            outputs: output vectors of the targets.
            near, signs: as in `Blocks` and `Targets`.
        """
        noise = self.drawn if self.output == "negative_sampling" else 0
        hidden, pairs = around, near
        if self.objective == "cbow":
            number = jnp.sum(near, axis=1)
            hidden = (near @ around) / jnp.maximum(number, 1)[:, None]
            pairs = jnp.diag((number > 0).astype(near.dtype))
        of_a_word = (len(outputs) - noise) // len(near)
        weights = jnp.repeat(pairs, of_a_word, axis=0)
        if noise:
            share = self.negatives / noise * jnp.sum(pairs, axis=0, keepdims=True)
            weights = jnp.concatenate([weights, jnp.tile(share, (noise, 1))])
        weights *= jnp.abs(signs)[:, None]
        return jnp.sum(weights * jax.nn.softplus(-signs[:, None] * (outputs @ hidden.T)))

    def loss_and_gradients(
        self, vectors: Vectors, blocks: Blocks, targets: Targets
    ) -> tuple[Float[Array, ""], dict[str, tuple[Array, Array]]]:
        """The summed loss of blocks, and by the names of the tables the touched rows and their
        gradients. A row that occurs several times has several gradients, which add up.
        """
        places = {"inputs": blocks.around, "outputs": targets.places}
        rows = {name: getattr(vectors, name)[place] for name, place in places.items()}
        dtype = rows["inputs"].dtype
        near, signs = blocks.near.astype(dtype), targets.signs.astype(dtype)

        def loss(rows: dict[str, Array]) -> Array:
            around, outputs = rows["inputs"], rows["outputs"]
            return jnp.sum(jax.vmap(self.block_loss)(around, outputs, near, signs))

        value, gradients = jax.value_and_grad(loss)(rows)
        return value, {
            name: (place.reshape(-1), gradients[name].reshape(-1, self.size))
            for name, place in places.items()
        }

    def terms(self, blocks: Blocks) -> Float[Array, ""]:
        """Of how many pairs, or with "cbow" of how many words, the loss is the sum."""
        near = blocks.near if self.objective == "skip_gram" else jnp.any(blocks.near, axis=-1)
        return jnp.sum(near, dtype=jnp.float32)

    @staticmethod
    def summarize(sums: Mapping[str, Any]) -> dict[str, float]:
        """Mean loss of a pair, or with "cbow" of a word."""
        return {"loss": mean(sums["loss"], sums["weight"])}


def noise_table(counts: Int[np.ndarray, " words"], power: float = NOISE_POWER) -> Noise:
    """The noise has words in proportion to counts ** power.

    The alias method (Walker 1977) draws from it in constant time: Vose 1991 ("A linear algorithm
    for generating random numbers with a given distribution").
    """
    shares = counts.astype(np.float64) ** power
    shares *= len(counts) / shares.sum()
    other = np.arange(len(counts), dtype=np.int32)
    small, large = (np.flatnonzero(mask).tolist() for mask in (shares < 1, shares >= 1))
    while small and large:
        word = small.pop()
        other[word] = large[-1]
        shares[large[-1]] -= 1 - shares[word]
        if shares[large[-1]] < 1:
            small.append(large.pop())
    return Noise(np.minimum(shares, 1).astype(np.float32), other)


def draw_noise(key: Key[Array, ""], noise: Noise, shape: tuple[int, ...]) -> Int[Array, "..."]:
    """Words of the noise, independent of each other."""
    word_key, share_key = jax.random.split(key)
    words = jax.random.randint(word_key, shape, 0, len(noise.share))
    stays = jax.random.uniform(share_key, shape) < jnp.asarray(noise.share)[words]
    return jnp.where(stays, words, jnp.asarray(noise.other)[words])


def step_along(vectors: Vectors, touched: dict[str, tuple[Array, Array]], rate: Any) -> Vectors:
    """Gradient descent of the touched rows. One update a table, so that none is copied."""
    tables = vectors._asdict()
    for name, (places, gradients) in touched.items():
        tables[name] = tables[name].at[places].add(-rate * gradients)
    return Vectors(**tables)
