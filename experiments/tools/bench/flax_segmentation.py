"""Networks for segmentation in plain Flax, with our names for their layers."""

from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax

LEVELS = (64, 128, 256, 512, 1024)
STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


class ConvNormReLU(nn.Module):
    """A 3x3 convolution with BatchNorm and ReLU."""

    width: int
    train: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        conv = nn.Conv(self.width, (3, 3), padding=1, use_bias=False, dtype=self.dtype, name="conv")
        norm = nn.BatchNorm(not self.train, momentum=0.9, dtype=self.dtype, name="norm")
        return nn.relu(norm(conv(x)))


class DoubleConv(nn.Module):
    """Two of them."""

    width: int
    train: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for name in ("conv1", "conv2"):
            x = ConvNormReLU(self.width, self.train, self.dtype, name=name)(x)
        return x


class Contracting(nn.Module):
    """The maps of all levels."""

    train: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> list[Array]:
        maps: list[Array] = []
        for level, width in enumerate(LEVELS, start=1):
            x = nn.max_pool(x, (2, 2), (2, 2)) if maps else x
            x = DoubleConv(width, self.train, self.dtype, name=f"level{level}")(x)
            maps.append(x)
        return maps


class Expanding(nn.Module):
    """The map of the first level, from those of all levels."""

    train: bool
    dtype: Any

    @nn.compact
    def __call__(self, maps: list[Array]) -> Array:
        x = maps[-1]
        for level in range(len(LEVELS) - 1, 0, -1):
            width = LEVELS[level - 1]
            up = nn.ConvTranspose(
                width, (2, 2), (2, 2), dtype=self.dtype, transpose_kernel=True, name=f"up{level}"
            )
            x = jnp.concatenate([maps[level - 1], up(x)], axis=-1)
            x = DoubleConv(width, self.train, self.dtype, name=f"conv{level}")(x)
        return x


class UNet(nn.Module):
    """U-Net with zero padding and BatchNorm."""

    num_classes: int
    train: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        height, width = x.shape[1:3]
        maps = Contracting(self.train, self.dtype, name="backbone")(_padded(x, 16))
        x = Expanding(self.train, self.dtype, name="decoder")(maps)
        x = nn.Conv(self.num_classes, (1, 1), name="head")(x.astype(jnp.float32))
        return x[:, :height, :width]


class VGG16Maps(nn.Module):
    """The pooled maps of VGG-16."""

    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> list[Array]:
        maps = []
        for stage, (size, width) in enumerate(STAGES, start=1):
            for number in range(1, size + 1):
                conv = partial(nn.Conv, padding=1, dtype=self.dtype)
                x = nn.relu(conv(width, (3, 3), name=f"conv{stage}_{number}")(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
            maps.append(x)
        return maps


class VGG16Encoder(nn.Module):
    """VGG-16 without its linear layers."""

    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> list[Array]:
        return VGG16Maps(self.dtype, name="body")(x)


class FCNHead(nn.Module):
    """The linear layers of VGG-16 as convolutions, and the coarsest scores."""

    num_classes: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = nn.relu(nn.Conv(4096, (7, 7), padding=3, dtype=self.dtype, name="fc6")(x))
        x = nn.relu(nn.Conv(4096, (1, 1), dtype=self.dtype, name="fc7")(x))
        return nn.Conv(self.num_classes, (1, 1), name="score")(x.astype(jnp.float32))


class FCN8s(nn.Module):
    """FCN-8s on VGG-16, aligned with the image, without dropout; bilinear upsampling is fixed."""

    num_classes: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        height, width = x.shape[1:3]
        maps = VGG16Encoder(self.dtype, name="backbone")(_padded(x, 32))
        y = FCNHead(self.num_classes, self.dtype, name="head")(maps[-1])
        for number, finer in enumerate((maps[3], maps[2])):
            score = nn.Conv(self.num_classes, (1, 1), name=f"scores_{number}")
            y = _upsample(y, 2) + score(finer.astype(jnp.float32))
        return _upsample(y, 8)[:, :height, :width]


def _padded(x: Array, multiple: int) -> Array:
    _, height, width, _ = x.shape
    return jnp.pad(x, ((0, 0), (0, -height % multiple), (0, -width % multiple), (0, 0)))


def _upsample(x: Array, factor: int) -> Array:
    """Bilinear interpolation by a transposed convolution (Caffe's BilinearFiller)."""
    channels, size = x.shape[-1], 2 * factor
    line = 1 - jnp.abs(jnp.arange(size) - (factor - 0.5)) / factor
    kernel = jnp.broadcast_to(
        (line[:, None] * line[None])[..., None, None], (size, size, 1, channels)
    )
    around = size - 1 - factor // 2
    return lax.conv_general_dilated(
        x,
        kernel,
        (1, 1),
        ((around, around), (around, around)),
        lhs_dilation=(factor, factor),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=channels,
    )
