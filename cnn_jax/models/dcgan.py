"""DCGAN: a generator of transposed convolutions and a discriminator of strided convolutions.

Source: Radford, Metz, Chintala 2016 ("Unsupervised representation learning with deep convolutional
generative adversarial networks"), as in PyTorch's example dcgan, whose state dicts load by
`pretrained.from_torch`. The class-conditional form sees the label as Mirza and Osindero 2014
("Conditional generative adversarial nets") do: one-hot beside the latents, and as constant maps
beside the image's channels.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from cnn_jax.errors import ConfigError
from cnn_jax.layers import BatchNorm, Conv, ConvTranspose, SpectralNorm, leaky_relu, relu, tanh
from cnn_jax.models import torch_names
from cnn_jax.models.arrays import Feature, Images, Labels, Latents, at_least_float32
from cnn_jax.models.checks import check_choice, check_labels
from cnn_jax.models.gan import DiscriminatorNorm, halvings

# Section 3 of the paper; PyTorch's example draws the scales of BatchNorm too, around 1.
kernel_init = nn.initializers.normal(0.02)
zeros = nn.initializers.zeros_init()
SLOPE = 0.2


def scale_init(key: Array, shape: tuple[int, ...], dtype: Dtype = jnp.float32) -> Array:
    """Normal around 1 with a deviation of 0.02."""
    return 1 + 0.02 * jax.random.normal(key, shape, dtype)


def steep_relu(x: Array) -> Array:
    """LeakyReLU with the paper's slope of 0.2."""
    return leaky_relu(x, SLOPE)


class DCGANGenerator(nn.Module):
    """Latents [batch, latent] to images in [-1, 1], float32 or wider.

    A first transposed convolution makes a map of 4 to 7 pixels a side, and each further one doubles
    it. `features` returns the maps `stage1`, `stage2`, … after their ReLU.

    Attributes:
        image_shape: height, width and channels; each side is 4 to 7, and the longer one more, times
            a power of 2 of at least 2, such as 28, 32 or 64.
        latent: size of the latents.
        width: channels of the last map, doubled for each map before it.
        num_classes: of the class-conditional form; 0 is unconditional.
        dtype: dtype of the computation, such as bfloat16; parameters and images stay float32.

    Raises:
        ConfigError: an image shape that cannot be halved; labels that are missing or too many.
    """

    image_shape: tuple[int, int, int] = (64, 64, 3)
    latent: int = 100
    width: int = 64
    num_classes: int = 0
    dtype: Dtype | None = None

    def __post_init__(self) -> None:
        halvings(self.image_shape)
        super().__post_init__()

    def setup(self) -> None:
        count, smallest = halvings(self.image_shape)
        transposed = partial(
            ConvTranspose, use_bias=False, kernel_init=kernel_init, dtype=self.dtype
        )
        doubling = partial(transposed, kernel_size=4, stride=2, padding=1)
        widths = [self.width * 2**n for n in reversed(range(count))]
        self.convs = [transposed(widths[0], smallest), *(doubling(width) for width in widths[1:])]
        self.head = doubling(self.image_shape[-1])
        self.norms = [
            BatchNorm(scale_init=scale_init, activation=relu, dtype=self.dtype) for _ in self.convs
        ]

    def features(
        self, latents: Latents, labels: Labels | None = None, *, train: bool = False
    ) -> dict[str, Feature]:
        """The maps of each size, from small to large."""
        check_labels(labels, self.num_classes)
        x = jnp.asarray(latents)
        if labels is not None:
            x = jnp.concatenate([x, jax.nn.one_hot(labels, self.num_classes, dtype=x.dtype)], 1)
        x, features = x[:, None, None], {}
        for number, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True), start=1):
            x = features[f"stage{number}"] = norm(conv(x), train=train)
        return features

    def __call__(
        self, latents: Latents, labels: Labels | None = None, *, train: bool = False
    ) -> Images:
        *_, last = self.features(latents, labels, train=train).values()
        return tanh(at_least_float32(self.head(last)))

    @nn.nowrap
    def torch_names(self) -> dict[str, str]:
        """PyTorch's example's names, such as "main.0.weight", and our paths."""
        count, _ = halvings(self.image_shape)
        names = torch_names.conv(f"main.{3 * count}", "head")
        for number in range(count):
            names |= torch_names.conv(f"main.{3 * number}", f"convs_{number}")
            names |= torch_names.norm(f"main.{3 * number + 1}", f"norms_{number}")
        return names


class DCGANDiscriminator(nn.Module):
    """Images in [-1, 1] to one logit each [batch], float32 or wider: above 0 is taken for real.

    `features` returns the maps `stage1`, `stage2`, … after their LeakyReLU, each half the size of
    the last.

    Attributes:
        image_shape, num_classes, dtype: as `DCGANGenerator`'s.
        width: channels of the first map, doubled for each map after it.
        norm: "batch" is BatchNorm behind all convolutions but the first and last, as in the paper;
            "spectral" is spectral normalization of all kernels, and "none" nothing, both with
            biases.

    Raises:
        ConfigError: an unknown norm, or as `DCGANGenerator`.
    """

    image_shape: tuple[int, int, int] = (64, 64, 3)
    width: int = 64
    num_classes: int = 0
    norm: DiscriminatorNorm = "batch"
    dtype: Dtype | None = None

    def __post_init__(self) -> None:
        halvings(self.image_shape)
        check_choice("norm", self.norm, ("batch", "spectral", "none"))
        super().__post_init__()

    def setup(self) -> None:
        count, smallest = halvings(self.image_shape)
        conv = partial(
            Conv,
            use_bias=self.norm != "batch",
            kernel_init=kernel_init,
            bias_init=zeros,
            dtype=self.dtype,
        )
        self.convs = [conv(self.width * 2**n, 4, 2, padding=1) for n in range(count)]
        self.head = conv(1, smallest)
        if self.norm == "batch":
            self.norms = [
                BatchNorm(scale_init=scale_init, activation=steep_relu, dtype=self.dtype)
                for _ in self.convs[1:]
            ]
        if self.norm == "spectral":
            self.spectral_norms = [SpectralNorm(layer) for layer in (*self.convs, self.head)]

    def features(
        self, images: Images, labels: Labels | None = None, *, train: bool = False
    ) -> dict[str, Feature]:
        """The maps of each size, from large to small."""
        check_labels(labels, self.num_classes)
        if images.shape[1:] != self.image_shape:
            raise ConfigError(
                f"expected images [batch, height, width, channels] of {self.image_shape}, got "
                f"shape {images.shape}"
            )
        x, features = jnp.asarray(images), {}
        if labels is not None:
            maps = jax.nn.one_hot(labels, self.num_classes, dtype=x.dtype)[:, None, None]
            maps = jnp.broadcast_to(maps, (*x.shape[:3], self.num_classes))
            x = jnp.concatenate([x, maps], axis=-1)
        for number in range(len(self.convs)):
            x = self._conv(number, x, train)
            if number and self.norm == "batch":
                x = self.norms[number - 1](x, train=train)
            else:
                x = steep_relu(x)
            features[f"stage{number + 1}"] = x
        return features

    def __call__(
        self, images: Images, labels: Labels | None = None, *, train: bool = False
    ) -> Float[Array, " batch"]:
        *_, last = self.features(images, labels, train=train).values()
        return at_least_float32(self._conv(-1, last, train))[:, 0, 0, 0]

    def _conv(self, number: int, x: Array, train: bool) -> Array:
        if self.norm == "spectral":
            return self.spectral_norms[number](x, train=train)
        return [*self.convs, self.head][number](x)

    @nn.nowrap
    def torch_names(self) -> dict[str, str]:
        """PyTorch's example's names, such as "main.0.weight", and our paths."""
        count, _ = halvings(self.image_shape)
        names = torch_names.conv("main.0", "convs_0") | torch_names.conv(
            f"main.{3 * count - 1}", "head"
        )
        for number in range(1, count):
            names |= torch_names.conv(f"main.{3 * number - 1}", f"convs_{number}")
            names |= torch_names.norm(f"main.{3 * number}", f"norms_{number - 1}")
        return names
