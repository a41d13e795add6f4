"""A small convolutional network for small images: two convolutions with pooling and a classifier.

With the defaults it has 50,282 parameters for gray images of 28x28 pixels, as the entry "2 Conv,
<100K parameters" in the benchmark of Fashion-MNIST (Xiao, Rasul, Vollgraf 2017,
github.com/zalandoresearch).
"""

import math
from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from cnn_jax.errors import ConfigError
from cnn_jax.layers import Conv, Dropout, max_pool, relu
from cnn_jax.models.arrays import Feature, Images, Logits, at_least_float32
from cnn_jax.models.checks import as_num_classes, check_choice, check_images
from cnn_jax.models.classifier import make_classifier
from cnn_jax.models.conv_norm import MakeConv, MakeNorm, OptionalNorm, make_norm
from cnn_jax.models.registry import MNIST, register


class SimpleCNNBody(nn.Module):
    """Everything before the classifier; returns the pooled maps `stem`, `stage1`, …."""

    widths: tuple[int, ...]
    kernel_size: int
    conv: MakeConv
    norm: MakeNorm

    @nn.compact
    def __call__(self, images: Images, *, train: bool) -> dict[str, Feature]:
        check_images(images, 2 ** len(self.widths))
        x, features, size = jnp.asarray(images), {}, self.kernel_size
        for number, width in enumerate(self.widths):
            stage = f"stage{number}" if number else "stem"
            x = self.conv(width, size, padding=size // 2, name=f"{stage}_conv")(x)
            x = self.norm(name=f"{stage}_norm", activation=relu)(x, train=train)
            x = features[stage] = max_pool(x, 2)
        return features


class SimpleCNN(nn.Module):
    """Images to logits [batch, num_classes], float32 or wider.

    Each width is a convolution that keeps the size, BatchNorm, ReLU and 2x2 max pooling. Dropout
    and a linear layer follow. `features` returns the pooled maps `stem`, `stage1`, ….

    Attributes:
        widths: number of channels of each convolution.
        kernel_size: height and width of the kernels; odd.
        dropout: dropout rate before the linear layer (rng "dropout").
        num_classes: number of outputs; 0 or None gives the features before the last layer.
        norm: "none" leaves BatchNorm out; "frozen" normalizes with the running statistics,
            also in training.
        dtype: dtype of the body's computation, such as bfloat16; parameters, statistics and
            the classifier stay float32. None is that of input and parameters.

    Raises:
        ConfigError: attributes that make no sense; images that are not [batch, height, width,
            channels] or that are too small for the pooling (4x4 for two convolutions).
    """

    widths: tuple[int, ...] = (32, 64)
    kernel_size: int = 3
    dropout: float = 0.25
    num_classes: int | None = 10
    norm: OptionalNorm = "batch"
    dtype: Dtype | None = None

    def __post_init__(self) -> None:
        self.num_classes = as_num_classes(self.num_classes)
        check_choice("norm", self.norm, ("none", "batch", "frozen"))
        if not self.widths:
            raise ConfigError("widths must name the channels of at least one convolution, got ()")
        if self.kernel_size % 2 == 0:
            raise ConfigError(
                f"kernel_size must be odd, so that a convolution keeps the size of the image, "
                f"got {self.kernel_size}"
            )
        super().__post_init__()

    def setup(self) -> None:
        conv = partial(Conv, use_bias=self.norm == "none", dtype=self.dtype)
        norm = make_norm(self.norm, dtype=self.dtype)
        self.body = SimpleCNNBody(self.widths, self.kernel_size, conv, norm)
        self.drop = Dropout(self.dropout)
        self.head = make_classifier(self.num_classes)

    def features(self, x: Images, *, train: bool = False) -> dict[str, Feature]:
        """The pooled feature maps, in forward order."""
        return self.body(x, train=train)

    def __call__(self, x: Images, *, train: bool = False) -> Logits:
        *_, last = self.body(x, train=train).values()
        last = at_least_float32(last)
        flat = last.reshape(last.shape[0], math.prod(last.shape[1:]))
        return self.head(self.drop(flat, train=train))

    @nn.nowrap
    def feature_strides(self) -> dict[str, int]:
        """Stride of each map of `features`, in pixels of the image."""
        stages = ("stem", *(f"stage{number}" for number in range(1, len(self.widths))))
        return {stage: 2**pools for pools, stage in enumerate(stages, start=1)}


register("simple_cnn", SimpleCNN, MNIST)
