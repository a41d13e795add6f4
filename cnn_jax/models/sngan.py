"""SNGAN: the generator and discriminator of residual blocks with spectral normalization.

Source: Miyato, Kataoka, Koyama, Yoshida 2018 ("Spectral normalization for generative adversarial
networks"), tables 4 and 5, appendix B.4. In the class-conditional form the generator's BatchNorm
has a scale and a bias for each class, and the discriminator adds the product of its features with a
vector of the class (Miyato and Koyama 2018, "cGANs with projection discriminator").
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from cnn_jax.layers import (
    BatchNorm,
    Conv,
    Linear,
    SpectralNorm,
    avg_pool,
    relu,
    resize_nearest,
    tanh,
)
from cnn_jax.models.arrays import Feature, Images, Labels, Latents, at_least_float32
from cnn_jax.models.checks import check_images, check_labels
from cnn_jax.models.gan import halvings

# The authors' code: Glorot and Bengio 2010, with the gain of a ReLU inside of a residual block.
glorot_init = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")
glorot_relu_init = nn.initializers.variance_scaling(2.0, "fan_avg", "uniform")
zeros = nn.initializers.zeros_init()


class ClassBatchNorm(nn.Module):
    """BatchNorm and ReLU, with a scale and a bias for each class where there are classes.

    Attributes:
        num_classes: 0 is `BatchNorm` itself.
        dtype: of the output.
    """

    num_classes: int = 0
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: Array, labels: Labels | None, *, train: bool) -> Array:
        if labels is None:
            return BatchNorm(activation=relu, dtype=self.dtype, name="norm")(x, train=train)
        norm = BatchNorm(use_scale=False, use_bias=False, dtype=self.dtype, name="norm")
        shape = (self.num_classes, x.shape[-1])
        scale = self.param("scale", nn.initializers.ones_init(), shape)
        bias = self.param("bias", zeros, shape)
        scale, bias = (jnp.take(of, labels, axis=0)[:, None, None] for of in (scale, bias))
        y = norm(x, train=train)
        return relu(y * scale.astype(y.dtype) + bias.astype(y.dtype))


class UpBlock(nn.Module):
    """A residual block that doubles the size: BatchNorm, ReLU, nearest neighbours, convolution."""

    features: int
    num_classes: int
    dtype: Dtype | None

    @nn.compact
    def __call__(self, x: Array, labels: Labels | None, *, train: bool) -> Array:
        norm = partial(ClassBatchNorm, self.num_classes, self.dtype)
        conv = partial(Conv, self.features, bias_init=zeros, dtype=self.dtype)
        size = 2 * x.shape[1], 2 * x.shape[2]
        y = resize_nearest(norm(name="norm1")(x, labels, train=train), size)
        y = conv(3, padding=1, kernel_init=glorot_relu_init, name="conv1")(y)
        y = norm(name="norm2")(y, labels, train=train)
        y = conv(3, padding=1, kernel_init=glorot_relu_init, name="conv2")(y)
        shortcut = conv(1, kernel_init=glorot_init, name="shortcut")(resize_nearest(x, size))
        return y + shortcut


class SNGANGenerator(nn.Module):
    """Latents [batch, latent] to images in [-1, 1], float32 or wider.

    `features` returns the maps `stem` and `stage1`, `stage2`, …, each twice the size of the last.

    Attributes:
        image_shape: as `DCGANGenerator`'s; the paper's is (32, 32, 3).
        latent: size of the latents.
        width: channels of all maps.
        num_classes: of the class-conditional form; 0 is unconditional.
        dtype: dtype of the computation, such as bfloat16; parameters and images stay float32.

    Raises:
        ConfigError: an image shape that cannot be halved; labels that are missing or too many.
    """

    image_shape: tuple[int, int, int] = (32, 32, 3)
    latent: int = 128
    width: int = 256
    num_classes: int = 0
    dtype: Dtype | None = None

    def __post_init__(self) -> None:
        halvings(self.image_shape)
        super().__post_init__()

    def setup(self) -> None:
        count, (height, width) = halvings(self.image_shape)
        self.stem = Linear(
            height * width * self.width,
            kernel_init=glorot_init,
            bias_init=zeros,
            dtype=self.dtype,
        )
        self.blocks = [UpBlock(self.width, self.num_classes, self.dtype) for _ in range(count)]
        self.norm = BatchNorm(activation=relu, dtype=self.dtype)
        self.head = Conv(
            self.image_shape[-1],
            3,
            padding=1,
            kernel_init=glorot_init,
            bias_init=zeros,
            dtype=self.dtype,
        )

    def features(
        self, latents: Latents, labels: Labels | None = None, *, train: bool = False
    ) -> dict[str, Feature]:
        """The maps of each size, from small to large."""
        check_labels(labels, self.num_classes)
        _, smallest = halvings(self.image_shape)
        x = self.stem(jnp.asarray(latents)).reshape(-1, *smallest, self.width)
        features = {"stem": x}
        for number, block in enumerate(self.blocks, start=1):
            x = features[f"stage{number}"] = block(x, labels, train=train)
        return features

    def __call__(
        self, latents: Latents, labels: Labels | None = None, *, train: bool = False
    ) -> Images:
        *_, last = self.features(latents, labels, train=train).values()
        return tanh(at_least_float32(self.head(self.norm(last, train=train))))


class DownBlock(nn.Module):
    """A residual block of the discriminator; `first` is the one that sees the image."""

    features: int
    dtype: Dtype | None
    pooled: bool = False
    first: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        def conv(x: Array, size: int, init: Any, name: str) -> Array:
            layer = Conv(
                self.features,
                size,
                padding=size // 2,
                kernel_init=init,
                bias_init=zeros,
                dtype=self.dtype,
                name=name,
            )
            return SpectralNorm(layer, name=f"{name}_norm")(x, train=train)

        y = conv(x if self.first else relu(x), 3, glorot_relu_init, "conv1")
        y = conv(relu(y), 3, glorot_relu_init, "conv2")
        if self.pooled:
            y = avg_pool(y, 2)
        if self.first:
            return y + conv(avg_pool(x, 2), 1, glorot_init, "shortcut")
        if not self.pooled:
            return y + x
        return y + avg_pool(conv(x, 1, glorot_init, "shortcut"), 2)


class SNGANDiscriminator(nn.Module):
    """Images in [-1, 1] to one logit each [batch], float32 or wider: above 0 is taken for real.

    Four residual blocks, of which the first two halve the size. `features` returns their maps
    `stage1` to `stage4`.

    Attributes:
        width: channels of all maps.
        num_classes, dtype: as `SNGANGenerator`'s.

    Raises:
        ConfigError: images that are smaller than 4 pixels; labels that are missing or too many.
    """

    width: int = 128
    num_classes: int = 0
    dtype: Dtype | None = None

    def setup(self) -> None:
        block = partial(DownBlock, self.width, self.dtype)
        self.blocks = [block(pooled=True, first=True), block(pooled=True), block(), block()]
        self.head = Linear(1, kernel_init=glorot_init, bias_init=zeros)
        self.head_norm = SpectralNorm(self.head)
        if self.num_classes:
            # The vector of a class is the product of its one-hot label with a kernel.
            self.projection = Linear(self.width, use_bias=False, kernel_init=glorot_init)
            self.projection_norm = SpectralNorm(self.projection, axis=0)

    def features(
        self, images: Images, labels: Labels | None = None, *, train: bool = False
    ) -> dict[str, Feature]:
        """The maps of the blocks; they do not depend on the labels."""
        check_images(images, 4)
        x, features = jnp.asarray(images), {}
        for number, block in enumerate(self.blocks, start=1):
            x = features[f"stage{number}"] = block(x, train=train)
        return features

    def __call__(
        self, images: Images, labels: Labels | None = None, *, train: bool = False
    ) -> Float[Array, " batch"]:
        check_labels(labels, self.num_classes)
        *_, last = self.features(images, train=train).values()
        pooled = jnp.sum(relu(at_least_float32(last)), axis=(1, 2))
        logits = self.head_norm(pooled, train=train)[:, 0]
        if labels is None:
            return logits
        one_hot = jax.nn.one_hot(labels, self.num_classes, dtype=pooled.dtype)
        return logits + jnp.sum(self.projection_norm(one_hot, train=train) * pooled, axis=1)
