"""The dense autoencoder, what all autoencoders share, and classifiers on top of an encoder.

Source: Hinton and Salakhutdinov: "Reducing the Dimensionality of Data with Neural Networks", 2006.
Outputs are raw: pixels if the loss is the squared error, logits of pixels if it is the Bernoulli
likelihood.
"""

import math
from collections.abc import Mapping
from functools import partial

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from flax.typing import Dtype
from jaxtyping import Array, Float

from cnn_jax.errors import ConfigError
from cnn_jax.layers import activation
from cnn_jax.layers.channels import add_per_channel
from cnn_jax.models.arrays import Images, Logits, at_least_float32
from cnn_jax.models.checks import as_num_classes
from cnn_jax.models.classifier import make_classifier
from cnn_jax.models.mlp import KernelInit, as_vectors, initialized_linear
from cnn_jax.models.registry import MNIST, register

Codes = Float[Array | np.ndarray, "batch code"]
Feature = Float[Array, "batch *shape"]
Parameters = Mapping[str, Mapping[str, Array]]


class Bias(nn.Module):
    """x + bias over the last axis: the parameters of a layer that shares another layer's kernel."""

    @nn.compact
    def __call__(self, x: Float[Array, "*batch features"]) -> Float[Array, "*batch features"]:
        bias = self.param("bias", nn.initializers.zeros_init(), x.shape[-1:])
        return add_per_channel(x, bias.astype(x.dtype))


class DenseEncoder(nn.Module):
    """Images to the hidden layers `hidden1`, `hidden2`, … and the linear `code`."""

    hidden: tuple[int, ...]
    code: int
    activation: str
    kernel_init: KernelInit
    dtype: Dtype | None

    @nn.compact
    def __call__(self, images: Images) -> dict[str, Feature]:
        linear = partial(initialized_linear(self.kernel_init), dtype=self.dtype)
        activate = activation(self.activation)
        x, features = as_vectors(images), {}
        for number, width in enumerate(self.hidden, start=1):
            x = features[f"hidden{number}"] = activate(linear(width, name=f"hidden{number}")(x))
        features["code"] = linear(self.code, name="code")(x)
        return features


class DenseDecoder(nn.Module):
    """The mirror of `DenseEncoder`: codes to images. `tied_to` are the encoder's parameters."""

    hidden: tuple[int, ...]
    image_shape: tuple[int, int, int]
    activation: str
    kernel_init: KernelInit
    dtype: Dtype | None

    @nn.compact
    def __call__(self, codes: Codes, tied_to: Parameters | None) -> Images:
        linear = partial(initialized_linear(self.kernel_init), dtype=self.dtype)
        activate = activation(self.activation)

        def layer(x: Array, width: int, name: str, mirrored: str) -> Array:
            if tied_to is None:
                return linear(width, name=name)(x)
            x, kernel = promote_dtype(x, tied_to[mirrored]["kernel"], dtype=self.dtype)
            return Bias(name=name)(x @ kernel.T)

        x, mirrored = jnp.asarray(codes), "code"
        for number, width in zip(range(len(self.hidden), 0, -1), self.hidden[::-1], strict=True):
            x = activate(layer(x, width, f"hidden{number}", mirrored))
            mirrored = f"hidden{number}"
        x = layer(x, math.prod(self.image_shape), "output", mirrored)
        return x.reshape(x.shape[0], *self.image_shape)


class AutoencoderBase(nn.Module):
    """What all autoencoders share: an encoder and a decoder, together and separately."""

    code: int = 30
    activation: str = "relu"
    tied: bool = False
    image_shape: tuple[int, int, int] = (28, 28, 1)
    dtype: Dtype | None = None

    def __post_init__(self) -> None:
        activation(self.activation)
        super().__post_init__()

    @nn.nowrap
    def make_encoder(self) -> nn.Module:
        """A new encoder, for this model or as the body of a classifier."""
        raise NotImplementedError

    @nn.nowrap
    def make_decoder(self) -> nn.Module:
        """A new decoder."""
        raise NotImplementedError

    def setup(self) -> None:
        self.encoder = self.make_encoder()
        self.decoder = self.make_decoder()

    def features(self, x: Images, *, train: bool = False) -> dict[str, Feature]:
        """The encoder's layers, in forward order, `code` last."""
        if x.shape[1:] != self.image_shape:
            raise ConfigError(
                f"this autoencoder is for images of shape {self.image_shape}, got a batch of shape "
                f"{x.shape}; set image_shape"
            )
        return self.encoder(x)

    def encode(self, x: Images) -> Float[Array, "batch code"]:
        """The codes of images."""
        return self.features(x)["code"]

    def decode(self, codes: Codes) -> Images:
        """The raw images of codes: pixels or logits of pixels."""
        tied_to = self.encoder.variables["params"] if self.tied else None
        images = self.decoder(codes, tied_to)
        return at_least_float32(images)

    def __call__(self, x: Images, *, train: bool = False) -> Images:
        return self.decode(self.encode(x))

    @nn.nowrap
    def feature_strides(self) -> dict[str, int]:
        """Stride of each map of `features`, in pixels of the image; vectors have none."""
        return {}


class Autoencoder(AutoencoderBase):
    """Dense autoencoder: images to raw images of the same shape, float32 or wider.

    The default is 784-1000-500-250-30 and its mirror. Parameters are `encoder` and `decoder`.
    `model.apply(variables, images, method="encode")` returns codes, `method="decode"` the images of
    codes, `method="features"` the encoder's layers `hidden1`, …, `code`. Training and evaluation
    compute the same.

    Attributes:
        code: number of values in the code, which is linear.
        activation: name of the hidden layers' activation, see `cnn_jax.layers.activation`.
        tied: the decoder uses the encoder's transposed kernels, with biases of its own.
        image_shape: height, width and channels.
        dtype: dtype of the computation, such as bfloat16; parameters and output stay float32.
            None is that of input and parameters.
        hidden: number of neurons of the encoder's hidden layers; the decoder mirrors them.
        kernel_init: "torch", "he" or "glorot", see `cnn_jax.models.mlp.initialized_linear`.

    Raises:
        ConfigError: attributes that make no sense; images of another shape.
    """

    hidden: tuple[int, ...] = (1000, 500, 250)
    kernel_init: KernelInit = "torch"

    @nn.nowrap
    def make_encoder(self) -> DenseEncoder:
        return DenseEncoder(self.hidden, self.code, self.activation, self.kernel_init, self.dtype)

    @nn.nowrap
    def make_decoder(self) -> DenseDecoder:
        return DenseDecoder(
            self.hidden, self.image_shape, self.activation, self.kernel_init, self.dtype
        )


class EncoderClassifier(nn.Module):
    """An autoencoder's encoder and a linear layer: images to logits, float32 or wider.

    `params["body"]` has the structure of an autoencoder's `params["encoder"]`.

    Attributes:
        autoencoder: the model whose encoder is the body.
        num_classes: number of outputs; 0 or None gives the features before the last layer.
    """

    autoencoder: AutoencoderBase
    num_classes: int | None = 10

    def __post_init__(self) -> None:
        self.num_classes = as_num_classes(self.num_classes)
        super().__post_init__()

    def setup(self) -> None:
        self.body = self.autoencoder.make_encoder()
        self.head = make_classifier(self.num_classes)

    def features(self, x: Images, *, train: bool = False) -> dict[str, Feature]:
        """The encoder's layers, in forward order."""
        return self.body(x)

    def __call__(self, x: Images, *, train: bool = False) -> Logits:
        code = self.body(x)["code"]
        return self.head(at_least_float32(code))

    @nn.nowrap
    def feature_strides(self) -> dict[str, int]:
        """Stride of each map of `features`, in pixels of the image; vectors have none."""
        return self.autoencoder.feature_strides()


register("autoencoder", Autoencoder, MNIST)
