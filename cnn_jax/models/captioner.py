"""Image captioning: what a CNN makes of an image is the first input of a recurrent network.

Source: Vinyals et al. 2015 ("Show and Tell: a neural image caption generator"), section 3.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float, Int

from cnn_jax.errors import ConfigError
from cnn_jax.layers import Linear, adaptive_avg_pool, flatten
from cnn_jax.layers.initializers import he_kernel_init
from cnn_jax.models.arrays import Images, at_least_float32
from cnn_jax.models.checks import check_choice
from cnn_jax.models.conv_norm import Norm
from cnn_jax.models.encoder import Encoder, make_encoder
from cnn_jax.models.language import Cell, LanguageModel

zeros = nn.initializers.zeros_init()


class Captioner(nn.Module):
    """Images and words to logits of the words that follow.

    Called with images and tokens [batch, captions, time] of several captions of each, it returns
    logits [batch, captions, time, vocabulary], float32 or wider. To write a caption, word by word,
    there are `begin` and `go_on`. Parameters are `backbone/body`, `image`, which projects the
    pooled map, and `language`, a `LanguageModel`.

    Attributes:
        vocabulary: number of words.
        encoder: a classifier's name, or a model with `features`; None withholds the images, so
            that a language model alone remains, whose first input is zeros.
        cell: "lstm", "gru" or "rnn".
        features: size of the state of each layer.
        layers: number of recurrent layers.
        embedding: size of the vector of a word, and of an image.
        places: rows and columns that the last map is pooled to; 1 is its mean, as in the paper.
        dropout: rate of DropOut of the vectors, between the layers, and of the last outputs.
        norm: "frozen" is handed on to an encoder of that name; "batch" leaves it as it is.
        dtype: dtype of the body's and the recurrent network's computation, such as bfloat16;
            parameters, projection and logits stay float32. None is that of input and parameters.

    Raises:
        ConfigError: attributes that make no sense; images that are not [batch, height, width,
            channels].
    """

    vocabulary: int
    encoder: Encoder | None = "resnet18"
    cell: Cell = "lstm"
    features: int = 512
    layers: int = 1
    embedding: int = 512
    places: int = 1
    dropout: float = 0.0
    norm: Norm = "batch"
    dtype: Dtype | None = None

    def __post_init__(self) -> None:
        check_choice("norm", self.norm, ("batch", "frozen"))
        for name in ("embedding", "places"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        super().__post_init__()

    def setup(self) -> None:
        if self.encoder is not None:
            self.backbone = make_encoder(self.encoder, self.norm, self.dtype)
            # Of the size of the words' vectors; PyTorch's default would be a third of it.
            self.image = Linear(self.embedding, kernel_init=he_kernel_init, bias_init=zeros)
        self.language = LanguageModel(
            self.vocabulary,
            cell=self.cell,
            features=self.features,
            layers=self.layers,
            embedding=self.embedding,
            dropout=self.dropout,
            dtype=self.dtype,
        )

    def __call__(
        self,
        images: Images,
        tokens: Int[Array | np.ndarray, "batch captions time"],
        *,
        train: bool = False,
    ) -> Float[Array, "batch captions time vocabulary"]:
        batch, captions, time = tokens.shape
        first = jnp.repeat(self.look(images, train=train), captions, axis=0)
        words = self.language.embed(tokens.reshape(batch * captions, time))
        x = jnp.concatenate([first[:, None], words], axis=1)
        logits, _ = self.language.from_vectors(x, train=train)
        return logits[:, 1:].reshape(batch, captions, time, self.vocabulary)

    def look(self, images: Images, *, train: bool = False) -> Float[Array, "batch embedding"]:
        """The vector of each image, which is of the kind of the words' vectors."""
        if self.encoder is None:
            return jnp.zeros((len(images), self.embedding), self.language.table.dtype)
        *_, last = self.backbone.features(images, train=train).values()
        return self.image(flatten(adaptive_avg_pool(at_least_float32(last), self.places)))

    def begin(self, images: Images) -> Any:
        """The state of the recurrent network before the first word."""
        _, state = self.language.from_vectors(self.look(images)[:, None])
        return state

    def go_on(
        self, tokens: Int[Array | np.ndarray, " rows"], state: Any
    ) -> tuple[Float[Array, "rows vocabulary"], Any]:
        """Logits of the words after the last one of each row, and the next state."""
        logits, state = self.language(tokens[:, None], state)
        return logits[:, 0], state
