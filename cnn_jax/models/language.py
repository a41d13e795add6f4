"""A recurrent language model: the next token from all those before it.

Source: Mikolov et al. 2010 ("Recurrent neural network based language model"); tied weights are
those of Press and Wolf 2017 and Inan et al. 2017, dropout that of Zaremba et al. 2014.
"""

from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from cnn_jax.errors import ConfigError
from cnn_jax.layers import GRU, LSTM, RNN, Dropout, Linear
from cnn_jax.layers.channels import add_per_channel
from cnn_jax.models.arrays import Tokens, at_least_float32
from cnn_jax.models.checks import check_choice

Cell = Literal["lstm", "gru", "rnn"]
CELLS: dict[Cell, Any] = {"lstm": LSTM, "gru": GRU, "rnn": RNN}


class LanguageModel(nn.Module):
    """Tokens [batch, time] to logits [batch, time, vocabulary] of the tokens that follow them.

    Returns logits, float32 or wider, and the state, with which the next call goes on; see
    `layers.LSTM`. Parameters are `embedding`, `body`, and `head` or, with tied weights, `head_bias`
    and, where the sizes differ, `projection`.

    Attributes:
        vocabulary: number of tokens.
        cell: "lstm", "gru" or "rnn", which is the tanh network.
        features: size of the state of each layer.
        layers: number of recurrent layers.
        embedding: size of a token's vector; 0 is `features`.
        tied: whether the output layer's weights are the embedding.
        dropout: rate of DropOut of the embedding, between the layers, and of the last outputs.
        dtype: dtype of the products, such as bfloat16; None is that of the parameters.

    Raises:
        ConfigError: an unknown cell, or a size below 1.
    """

    vocabulary: int
    cell: Cell = "lstm"
    features: int = 256
    layers: int = 2
    embedding: int = 0
    tied: bool = False
    dropout: float = 0.0
    dtype: Dtype | None = None

    def __post_init__(self) -> None:
        check_choice("cell", self.cell, tuple(CELLS))
        for name, least in (("vocabulary", 1), ("features", 1), ("layers", 1), ("embedding", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, got {getattr(self, name)}")
        super().__post_init__()

    def setup(self) -> None:
        size = self.embedding or self.features
        # With tied weights the embedding makes logits too; larger values would make them certain.
        deviation = size**-0.5 if self.tied else 1.0
        shape = (self.vocabulary, size)
        self.table = self.param("embedding", nn.initializers.normal(deviation), shape)
        self.body = CELLS[self.cell](
            self.features, layers=self.layers, dropout=self.dropout, dtype=self.dtype
        )
        self.drop = Dropout(self.dropout)
        if not self.tied:
            self.head = Linear(self.vocabulary)
        else:
            self.bias = self.param("head_bias", nn.initializers.zeros_init(), (self.vocabulary,))
            if size != self.features:
                self.projection = Linear(size, use_bias=False)

    def __call__(
        self, tokens: Tokens, state: Any = None, *, train: bool = False
    ) -> tuple[Float[Array, "batch time vocabulary"], Any]:
        return self.from_vectors(self.embed(tokens), state, train=train)

    def embed(self, tokens: Tokens) -> Float[Array, "batch time embedding"]:
        """The vector of each token."""
        table = self.table if self.dtype is None else self.table.astype(self.dtype)
        return jnp.take(table, tokens, axis=0)

    def from_vectors(
        self, x: Float[Array, "batch time embedding"], state: Any = None, *, train: bool = False
    ) -> tuple[Float[Array, "batch time vocabulary"], Any]:
        """What the model makes of tokens' vectors, as when called with the tokens."""
        x, state = self.body(self.drop(x, train=train), state, train=train)
        x = at_least_float32(self.drop(x, train=train))
        if not self.tied:
            return self.head(x), state
        if x.shape[-1] != self.table.shape[-1]:
            x = self.projection(x)
        return add_per_channel(x @ self.table.T, self.bias), state
