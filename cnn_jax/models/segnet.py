"""SegNet: a decoder that puts values back where max pooling found them.

Source: Badrinarayanan, Kendall, Cipolla: "SegNet: A Deep Convolutional Encoder-Decoder Architecture
for Image Segmentation", 2017. The encoder is VGG-16 without its classifier and with BatchNorm; the
decoder mirrors it. `upsampling` replaces the unpooling by the other ways to make a map larger, as
in the paper's table 1.
"""

from functools import partial
from typing import Any, Literal, get_args

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array

from cnn_jax.layers import (
    Conv,
    ConvTranspose,
    bed_of_nails,
    max_pool_with_indices,
    max_unpool,
    resize_bilinear,
    resize_nearest,
)
from cnn_jax.layers.initializers import he_kernel_init
from cnn_jax.models.arrays import Feature, Images, PixelLogits, at_least_float32
from cnn_jax.models.checks import as_num_classes, check_choice
from cnn_jax.models.classifier import make_classifier
from cnn_jax.models.conv_norm import ConvNormReLU, MakeConv, Norm, make_norm
from cnn_jax.models.registry import register
from cnn_jax.models.vgg import VGG

Upsampling = Literal["max_unpool", "bilinear", "nearest", "bed_of_nails", "transposed"]

zeros = nn.initializers.zeros_init()


class Upsample(nn.Module):
    """A map at the size of the map before pooling."""

    upsampling: Upsampling
    dtype: Dtype | None

    @nn.compact
    def __call__(self, x: Array, before: Array) -> Array:
        height, width = before.shape[1:3]
        if self.upsampling == "max_unpool":
            _, indices = max_pool_with_indices(before, 2, ceil_mode=True)
            return max_unpool(x, indices, (height, width))
        if self.upsampling == "bilinear":
            return resize_bilinear(x, (height, width))
        if self.upsampling == "nearest":
            return resize_nearest(x, (height, width))
        if self.upsampling == "bed_of_nails":
            x = bed_of_nails(x, 2)
        else:
            x = ConvTranspose(x.shape[-1], 2, 2, dtype=self.dtype, bias_init=zeros, name="conv")(x)
        # Pooling has rounded an odd size up.
        return x[:, :height, :width]


class SegNetDecoder(nn.Module):
    """Returns the maps `up5`, …, `up1`: each upsampled, then convolved as in the encoder."""

    stage_sizes: tuple[int, ...]
    widths: tuple[int, ...]
    upsampling: Upsampling
    dtype: Dtype | None
    conv_block: MakeConv

    @nn.compact
    def __call__(self, maps: dict[str, Array], *, train: bool) -> dict[str, Feature]:
        stages = range(len(self.stage_sizes), 0, -1)
        features: dict[str, Feature] = {}
        x = maps[f"stage{len(self.stage_sizes)}"]
        for stage in stages:
            size, width = self.stage_sizes[stage - 1], self.widths[stage - 1]
            upsample = Upsample(self.upsampling, self.dtype, name=f"up{stage}")
            x = upsample(x, maps[f"conv{stage}_{size}"])
            # The last convolution of all gives the logits.
            for number in range(size, 0 if stage > 1 else 1, -1):
                out = self.widths[stage - 2] if number == 1 else width
                conv = self.conv_block(out, 3, padding=1, name=f"conv{stage}_{number}")
                x = conv(x, train=train)
            features[f"up{stage}"] = x
        return features


class SegNet(nn.Module):
    """Images to logits [batch, height, width, num_classes] of every pixel, float32 or wider.

    Images may have any size: pooling rounds up. `features` returns VGG's maps and those of the
    decoder, `up5`, …, `up1`. Parameters are `backbone/body`, those of `vgg16_bn`, `decoder` and
    `head`.

    Attributes:
        upsampling: "max_unpool" puts each value where the pooling found it, among zeros;
            "bed_of_nails" at the upper left of its 2x2 pixels; "nearest" and "bilinear" resize;
            "transposed" is a learned 2x2 transposed convolution.
        stage_sizes: number of convolutions of each stage.
        widths: number of channels of each stage.
        num_classes: number of outputs; 0 or None gives the features before the last layer.
        norm: "frozen" normalizes with the running statistics, also in training.
        dtype: dtype of the convolutions, such as bfloat16; parameters, statistics and the last
            layer stay float32. None is that of input and parameters.

    Raises:
        ConfigError: attributes that make no sense; images that are not [batch, height, width,
            channels].
    """

    upsampling: Upsampling = "max_unpool"
    stage_sizes: tuple[int, ...] = (2, 2, 3, 3, 3)
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    num_classes: int | None = 11
    norm: Norm = "batch"
    dtype: Dtype | None = None

    def __post_init__(self) -> None:
        self.num_classes = as_num_classes(self.num_classes)
        check_choice("upsampling", self.upsampling, get_args(Upsampling))
        check_choice("norm", self.norm, ("batch", "frozen"))
        super().__post_init__()

    @nn.nowrap
    def make_backbone(self) -> VGG:
        return VGG(
            self.stage_sizes,
            self.widths,
            num_classes=0,
            ceil_mode=True,
            norm=self.norm,
            dtype=self.dtype,
        )

    def setup(self) -> None:
        init: dict[str, Any] = {"kernel_init": he_kernel_init, "bias_init": zeros}
        conv_block = partial(
            ConvNormReLU,
            conv=partial(Conv, dtype=self.dtype, **init),
            norm=make_norm(self.norm, dtype=self.dtype),
        )
        self.backbone = self.make_backbone()
        self.decoder = SegNetDecoder(
            self.stage_sizes, self.widths, self.upsampling, self.dtype, conv_block
        )
        self.head = make_classifier(
            self.num_classes, partial(Conv, kernel_size=3, padding=1, **init)
        )

    def features(self, x: Images, *, train: bool = False) -> dict[str, Feature]:
        """The feature maps of encoder and decoder, in forward order."""
        maps = self.backbone.features(jnp.asarray(x), train=train)
        return {**maps, **self.decoder(maps, train=train)}

    def __call__(self, x: Images, *, train: bool = False) -> PixelLogits:
        *_, last = self.features(x, train=train).values()
        return self.head(at_least_float32(last))

    @nn.nowrap
    def feature_strides(self) -> dict[str, int]:
        """Stride of each map of `features`, in pixels of the image."""
        stages = range(len(self.stage_sizes), 0, -1)
        return self.make_backbone().feature_strides() | {f"up{s}": 2 ** (s - 1) for s in stages}


register("segnet", SegNet, (360, 480, 3))
