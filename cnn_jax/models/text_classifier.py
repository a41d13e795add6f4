"""Classifiers of texts: the vectors of words, and a recurrent network or convolutions over them.

Sources: Kim 2014 ("Convolutional neural networks for sentence classification") for the
convolutions; Graves and Schmidhuber 2005 for recurrence in both directions.
"""

from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Bool, Float

from cnn_jax.errors import ConfigError
from cnn_jax.layers import Conv, Dropout, Linear, relu
from cnn_jax.models.arrays import Logits, Tokens, at_least_float32
from cnn_jax.models.checks import check_choice
from cnn_jax.models.language import CELLS

Body = Literal["cnn", "lstm", "gru", "rnn"]
Pooling = Literal["mean", "max", "last"]


class TextClassifier(nn.Module):
    """Tokens [batch, time] to logits [batch, num_classes], float32 or wider.

    A text is followed by tokens of -1, which change nothing. Parameters are `embedding`, the vector
    of each word, `body` or `convolution3` and so on, and `head`.

    Attributes:
        vocabulary: number of words.
        num_classes: number of classes.
        body: "lstm", "gru" or "rnn"; or "cnn": convolutions over the words, each with ReLU and its
            maximum over the text.
        embedding: size of a word's vector.
        features: size of the state, or number of maps of each convolution.
        layers: recurrent layers; the convolutions are one.
        bidirectional: whether recurrent layers also go from the last word to the first.
        pooling: what becomes of the outputs of all words: their mean, maximum, or the last ones of
            each direction. That of "cnn" is always the maximum.
        widths: words that each convolution sees at once.
        dropout: rate of DropOut of what the last layer reads, and of the words' vectors before a
            recurrent network.
        dtype: dtype of the body's computation; None is that of the parameters.

    Raises:
        ConfigError: an unknown body or pooling, or a size below 1.
    """

    vocabulary: int
    num_classes: int
    body: Body = "lstm"
    embedding: int = 100
    features: int = 100
    layers: int = 1
    bidirectional: bool = True
    pooling: Pooling = "max"
    widths: tuple[int, ...] = (3, 4, 5)
    dropout: float = 0.5
    dtype: Dtype | None = None

    def __post_init__(self) -> None:
        check_choice("body", self.body, ("cnn", *CELLS))
        check_choice("pooling", self.pooling, ("mean", "max", "last"))
        sizes = {name: getattr(self, name) for name in ("vocabulary", "num_classes", "embedding")}
        sizes |= {"features": self.features, "layers": self.layers}
        sizes |= {"widths": min(self.widths, default=0)}
        for name, size in sizes.items():
            if size < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        super().__post_init__()

    @nn.compact
    def __call__(self, tokens: Tokens, *, train: bool = False) -> Logits:
        tokens = jnp.asarray(tokens)
        there = tokens >= 0
        init = nn.initializers.normal(0.1)
        table = self.param("embedding", init, (self.vocabulary, self.embedding))
        x = jnp.take(table, jnp.maximum(tokens, 0), axis=0) * there[..., None]
        x = x if self.dtype is None else x.astype(self.dtype)
        pooled = self._convolved(x, there) if self.body == "cnn" else self._read(x, there, train)
        pooled = Dropout(self.dropout)(at_least_float32(pooled), train=train)
        return Linear(self.num_classes, name="head")(pooled)

    def _convolved(
        self, x: Float[Array, "batch time embedding"], there: Bool[Array, "batch time"]
    ) -> Float[Array, "batch features"]:
        """The maximum of each map over the windows that hold a word of the text."""
        lengths = jnp.sum(there, axis=1, keepdims=True)
        pooled = []
        for width in self.widths:
            edge = width - 1
            convolution = Conv(
                self.features,
                (1, width),
                padding=(0, edge),
                dtype=self.dtype,
                name=f"convolution{width}",
            )
            maps = convolution(x[:, None])[:, 0]
            seen = jnp.arange(maps.shape[1])[None] < lengths + edge
            pooled.append(jnp.max(jnp.where(seen[..., None], relu(maps), 0), axis=1))
        return jnp.concatenate(pooled, axis=-1)

    def _read(
        self,
        x: Float[Array, "batch time embedding"],
        there: Bool[Array, "batch time"],
        train: bool,
    ) -> Float[Array, "batch features"]:
        """The outputs of the last recurrent layer, pooled over the words of the text."""
        assert self.body != "cnn"
        lengths = jnp.sum(there, axis=1)
        x = Dropout(self.dropout)(x, train=train)
        outputs, states = CELLS[self.body](
            self.features,
            layers=self.layers,
            bidirectional=self.bidirectional,
            dropout=self.dropout,
            dtype=self.dtype,
            name="body",
        )(x, lengths=lengths, train=train)
        if self.pooling == "last":
            last = states[-2:] if self.bidirectional else states[-1:]
            hidden = [state.hidden if self.body == "lstm" else state for state in last]
            return jnp.concatenate(hidden, axis=-1)
        if self.pooling == "max":
            return jnp.max(jnp.where(there[..., None], outputs, -jnp.inf), axis=1)
        return jnp.sum(outputs, axis=1) / jnp.maximum(lengths, 1)[:, None]
