"""Convolutional autoencoder: strided convolutions down to the code, transposed ones up again."""

import math
from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from flax.typing import Dtype
from jaxtyping import Array

from cnn_jax.errors import ConfigError
from cnn_jax.layers import Conv, ConvTranspose, Linear, activation, conv_transpose2d
from cnn_jax.models.arrays import Images
from cnn_jax.models.autoencoder import AutoencoderBase, Bias, Codes, Feature, Parameters
from cnn_jax.models.mlp import as_vectors
from cnn_jax.models.registry import MNIST, register


class ConvEncoder(nn.Module):
    """Images to the maps `stage1`, `stage2`, …, each half the size of the last, and the `code`."""

    widths: tuple[int, ...]
    code: int
    activation: str
    dtype: Dtype | None

    @nn.compact
    def __call__(self, images: Images) -> dict[str, Feature]:
        # 4x4 kernels halve an even size exactly, and their transposes cover all pixels evenly.
        conv = partial(Conv, kernel_size=4, stride=2, padding=1, dtype=self.dtype)
        activate = activation(self.activation)
        x, features = jnp.asarray(images), {}
        for number, width in enumerate(self.widths, start=1):
            x = features[f"stage{number}"] = activate(conv(width, name=f"stage{number}")(x))
        features["code"] = Linear(self.code, dtype=self.dtype, name="code")(as_vectors(x))
        return features


class ConvDecoder(nn.Module):
    """The mirror of `ConvEncoder`: codes to images. `tied_to` are the encoder's parameters."""

    widths: tuple[int, ...]
    image_shape: tuple[int, int, int]
    activation: str
    dtype: Dtype | None

    @nn.compact
    def __call__(self, codes: Codes, tied_to: Parameters | None) -> Images:
        activate = activation(self.activation)
        height, width, channels = self.image_shape
        factor = 2 ** len(self.widths)
        smallest = height // factor, width // factor, self.widths[-1]

        def transposed(x: Array, features: int, name: str, mirrored: str) -> Array:
            if tied_to is None:
                layer = ConvTranspose(features, 4, 2, padding=1, dtype=self.dtype, name=name)
                return layer(x)
            x, kernel = promote_dtype(x, tied_to[mirrored]["kernel"], dtype=self.dtype)
            return Bias(name=name)(conv_transpose2d(x, kernel, stride=2, padding=1))

        x = jnp.asarray(codes)
        if tied_to is None:
            x = Linear(math.prod(smallest), dtype=self.dtype, name="code")(x)
        else:
            x, kernel = promote_dtype(x, tied_to["code"]["kernel"], dtype=self.dtype)
            x = Bias(name="code")(x @ kernel.T)
        x = activate(x.reshape(x.shape[0], *smallest))
        for number in range(len(self.widths), 1, -1):
            x = activate(transposed(x, self.widths[number - 2], f"stage{number}", f"stage{number}"))
        return transposed(x, channels, "output", "stage1")


class ConvAutoencoder(AutoencoderBase):
    """Convolutional autoencoder: images to raw images of the same shape, float32 or wider.

    The encoder consists of strided convolutions and a linear layer, the decoder of a linear layer
    and transposed convolutions. It has the methods of `Autoencoder`; the encoder's layers are
    `stage1`, …, `code`.

    Attributes:
        code, activation, dtype: as `Autoencoder`'s.
        tied: the decoder uses the encoder's transposed kernels, with biases of its own.
        image_shape: height, width and channels; height and width are multiples of
            2**len(widths).
        widths: number of channels of the encoder's convolutions.

    Raises:
        ConfigError: attributes that make no sense; images of another shape.
    """

    widths: tuple[int, ...] = (16, 32)

    def __post_init__(self) -> None:
        factor = 2 ** len(self.widths)
        if not self.widths or any(size % factor for size in self.image_shape[:2]):
            raise ConfigError(
                f"{len(self.widths)} convolutions halve images {len(self.widths)} times: height "
                f"and width must be multiples of {factor}, got image_shape={self.image_shape}"
            )
        super().__post_init__()

    @nn.nowrap
    def make_encoder(self) -> ConvEncoder:
        return ConvEncoder(self.widths, self.code, self.activation, self.dtype)

    @nn.nowrap
    def make_decoder(self) -> ConvDecoder:
        return ConvDecoder(self.widths, self.image_shape, self.activation, self.dtype)

    @nn.nowrap
    def feature_strides(self) -> dict[str, int]:
        """Stride of each map of `features`, in pixels of the image; `code`, a vector, has none."""
        return {f"stage{stage}": 2**stage for stage in range(1, len(self.widths) + 1)}


register("conv_autoencoder", ConvAutoencoder, MNIST)
