"""The benchmarks' opponents in plain Flax, as users of `flax.linen` write them.

Their layers have our names, so that they can start from our parameters.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax import Array, lax

from experiments.tools.bench.flax_segmentation import FCN8s, UNet


class Block(nn.Module):
    """Convolutions with BatchNorm, and a shortcut of option B."""

    widths: Sequence[int]
    sizes: Sequence[int]
    strides: Sequence[int]
    conv: Callable[..., Any]
    norm: Callable[..., Any]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = x
        shapes = zip(self.widths, self.sizes, self.strides, strict=True)
        for number, (width, size, stride) in enumerate(shapes, start=1):
            y = self.conv(width, size, stride, name=f"conv{number}")(y)
            y = self.norm(name=f"norm{number}")(y)
            if number < len(self.widths):
                y = nn.relu(y)
        if x.shape != y.shape:
            x = self.conv(self.widths[-1], 1, math.prod(self.strides), name="shortcut_conv")(x)
            x = self.norm(name="shortcut_norm")(x)
        return nn.relu(x + y)


class ResNetBody(nn.Module):
    """Stem and stages, from images to the last feature map."""

    imagenet: bool
    train: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        conv, norm = partial(_conv, dtype=self.dtype), partial(_norm, self.train, self.dtype)
        block = partial(Block, conv=conv, norm=norm)
        if self.imagenet:
            x = nn.relu(norm(name="stem_norm")(conv(64, 7, 2, name="stem_conv")(x)))
            x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        else:
            x = nn.relu(norm(name="stem_norm")(conv(16, 3, name="stem_conv")(x)))
        widths = (64, 128, 256, 512) if self.imagenet else (16, 32, 64)
        sizes = (3, 4, 6, 3) if self.imagenet else (3, 3, 3)
        for stage, (width, size) in enumerate(zip(widths, sizes, strict=True), start=1):
            for number in range(1, size + 1):
                stride = 2 if stage > 1 and number == 1 else 1
                name = f"stage{stage}_block{number}"
                if self.imagenet:
                    x = block((width, width, 4 * width), (1, 3, 1), (1, stride, 1), name=name)(x)
                else:
                    x = block((width, width), (3, 3), (stride, 1), name=name)(x)
        return x


class ResNet(nn.Module):
    """ResNet-20 for CIFAR or ResNet-50."""

    imagenet: bool
    num_classes: int
    train: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = ResNetBody(self.imagenet, self.train, self.dtype, name="body")(x)
        return nn.Dense(self.num_classes, name="head")(jnp.mean(x, axis=(1, 2), dtype=jnp.float32))


class VGG16Body(nn.Module):
    """Thirteen 3x3 convolutions."""

    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shapes = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
        for stage, (size, width) in enumerate(shapes, start=1):
            for number in range(1, size + 1):
                name = f"conv{stage}_{number}"
                x = nn.relu(_conv(width, 3, use_bias=True, dtype=self.dtype, name=name)(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        return x


class VGG16Head(nn.Module):
    """Three linear layers, without dropout."""

    num_classes: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        # In the order of our parameters, which is PyTorch's: channel, row, column.
        x = x.astype(jnp.float32).transpose(0, 3, 1, 2).reshape(len(x), -1)
        x = nn.relu(nn.Dense(4096, name="fc6")(x))
        x = nn.relu(nn.Dense(4096, name="fc7")(x))
        return nn.Dense(self.num_classes, name="fc8")(x)


class VGG16(nn.Module):
    """VGG-16 for images of 224 x 224."""

    num_classes: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return VGG16Head(self.num_classes, name="head")(VGG16Body(self.dtype, name="body")(x))


class WhiteningConv(nn.Module):
    """2x2 convolution whose kernel is not a parameter."""

    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.variable("constants", "kernel", jnp.zeros, (2, 2, 3, 24)).value
        bias = self.param("bias", nn.initializers.zeros_init(), (24,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        dimensions = ("NHWC", "HWIO", "NHWC")
        y = lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=dimensions)
        return y + bias[None, None, None]


class AirbenchBody(nn.Module):
    """Whitening and three stages of two convolutions."""

    train: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        gelu = partial(nn.gelu, approximate=False)
        norm = partial(
            nn.BatchNorm,
            use_running_average=not self.train,
            momentum=0.6,
            epsilon=1e-12,
            use_scale=False,
            dtype=self.dtype,
        )
        x = gelu(WhiteningConv(self.dtype, name="whiten")(x))
        for stage, width in enumerate((64, 256, 256), start=1):
            x = nn.max_pool(
                _conv(width, 3, dtype=self.dtype, name=f"stage{stage}_conv1")(x), (2, 2), (2, 2)
            )
            x = gelu(norm(name=f"stage{stage}_norm1")(x))
            x = _conv(width, 3, dtype=self.dtype, name=f"stage{stage}_conv2")(x)
            x = gelu(norm(name=f"stage{stage}_norm2")(x))
        return x


class Airbench94(nn.Module):
    """The network of airbench94."""

    num_classes: int
    train: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = AirbenchBody(self.train, self.dtype, name="body")(x)
        x = jnp.max(x, axis=(1, 2)).astype(jnp.float32)
        return nn.Dense(self.num_classes, use_bias=False, name="head")(x) / x.shape[-1]


class Dense(nn.Module):
    """Linear layers with ReLUs between them, and after the last one if `last_relu`."""

    widths: dict[str, int]
    last_relu: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        *_, last = self.widths
        for name, width in self.widths.items():
            x = nn.Dense(width, dtype=self.dtype, name=name)(x)
            if name != last or self.last_relu:
                x = nn.relu(x)
        return x


class MLP(nn.Module):
    """Hidden layers of 256, 128 and 100 neurons."""

    num_classes: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        widths = {"hidden1": 256, "hidden2": 128, "hidden3": 100}
        x = Dense(widths, True, self.dtype, name="body")(x.reshape(len(x), -1))
        return nn.Dense(self.num_classes, name="head")(x.astype(jnp.float32))


class Autoencoder(nn.Module):
    """784-1000-500-250-30 and its mirror image."""

    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        encoder = {"hidden1": 1000, "hidden2": 500, "hidden3": 250, "code": 30}
        decoder = {"hidden3": 250, "hidden2": 500, "hidden1": 1000, "output": 784}
        code = Dense(encoder, False, self.dtype, name="encoder")(x.reshape(len(x), -1))
        image = Dense(decoder, False, self.dtype, name="decoder")(code)
        return image.reshape(x.shape).astype(jnp.float32)


def _conv(width: int, size: int, stride: int = 1, *, use_bias: bool = False, **others: Any) -> Any:
    return nn.Conv(width, (size, size), stride, padding=size // 2, use_bias=use_bias, **others)


def _norm(train: bool, dtype: Any, *, name: str) -> nn.BatchNorm:
    return nn.BatchNorm(
        use_running_average=not train, momentum=0.9, epsilon=1e-5, dtype=dtype, name=name
    )


MODELS: dict[str, Callable[[int, bool, Any], nn.Module]] = {
    "cifar_resnet20": lambda classes, train, dtype: ResNet(False, classes, train, dtype),
    "cifar_airbench94": lambda classes, train, dtype: Airbench94(classes, train, dtype),
    "resnet50": lambda classes, train, dtype: ResNet(True, classes, train, dtype),
    "vgg16": lambda classes, train, dtype: VGG16(classes, dtype),
    "mlp": lambda classes, train, dtype: MLP(classes, dtype),
    "autoencoder": lambda classes, train, dtype: Autoencoder(dtype),
    "unet": lambda classes, train, dtype: UNet(classes, train, dtype),
    "fcn8s": lambda classes, train, dtype: FCN8s(classes, dtype),
}
"""By the names of the cases; arguments are the number of classes, train, and the dtype."""
