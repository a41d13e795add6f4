"""U-Net: a contracting path for what is there, an expanding one for where it is.

Source: Ronneberger, Fischer, Brox: "U-Net: Convolutional Networks for Biomedical Image
Segmentation", 2015. The published network has convolutions without padding, so that every output
has seen whole context, and the maps that are handed over are cropped. The image is mirrored at its
border. `unet_bn` is the form that is common today: zero padding, BatchNorm, and any classifier's
body as the contracting path. No ReLU follows the up-convolutions, as in the paper's figure 1.
"""

from functools import partial
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array, Float

from cnn_jax.errors import ConfigError
from cnn_jax.layers import Conv, ConvTranspose, Dropout, max_pool
from cnn_jax.models.arrays import Feature, Images, at_least_float32
from cnn_jax.models.checks import as_num_classes, check_choice, check_images
from cnn_jax.models.classifier import make_classifier
from cnn_jax.models.conv_norm import ConvNormReLU, MakeConv, OptionalNorm, make_norm
from cnn_jax.models.encoder import (
    Encoder,
    crop_to_image,
    make_encoder,
    maps_by_stride,
    pad_to_multiple,
    resize_to,
)
from cnn_jax.models.registry import register
from cnn_jax.models.tiles import mirrored

Border = Literal["mirror", "valid", "same"]

# Section 3: Gaussian with the variance 2 / N, for N incoming nodes of one neuron.
kernel_init = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
zeros = nn.initializers.zeros_init()


class DoubleConv(nn.Module):
    """Two 3x3 convolutions, each with ReLU."""

    width: int
    padding: int
    conv_block: MakeConv

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        for number in (1, 2):
            block = self.conv_block(self.width, 3, padding=self.padding, name=f"conv{number}")
            x = block(x, train=train)
        return x


class ContractingPath(nn.Module):
    """`features` returns the map of each level before pooling: `level1`, `level2`, …."""

    widths: tuple[int, ...]
    padding: int
    dropout: float
    conv_block: MakeConv

    @nn.compact
    def features(self, x: Array, *, train: bool) -> dict[str, Feature]:
        features: dict[str, Feature] = {}
        for level, width in enumerate(self.widths, start=1):
            x = x if level == 1 else max_pool(x, 2)
            convs = DoubleConv(width, self.padding, self.conv_block, name=f"level{level}")
            x = convs(x, train=train)
            # "At the end of the contracting path": in the authors' network, of the last two levels.
            if level > len(self.widths) - 2:
                x = Dropout(self.dropout)(x, train=train)
            features[f"level{level}"] = x
        return features

    @nn.nowrap
    def feature_strides(self) -> dict[str, int]:
        return {f"level{level + 1}": 2**level for level in range(len(self.widths))}


class ExpandingPath(nn.Module):
    """Returns the maps `up…` at half the stride of the last one and down to 1, one after another.

    Attributes:
        widths: number of channels at the strides 1, 2, 4, ….
        padding: of the convolutions; without padding the maps that are handed over are cropped.
        conv_block, up: make a convolution, and an up-convolution.
    """

    widths: tuple[int, ...]
    padding: int
    conv_block: MakeConv
    up: Any

    @nn.compact
    def __call__(self, x: Array, maps: dict[int, Array], *, train: bool) -> dict[str, Feature]:
        features: dict[str, Feature] = {}
        for level in range(max(maps).bit_length() - 2, -1, -1):
            width, skip = self.widths[level], maps.get(2**level)
            x = self.up(width, name=f"up{level + 1}")(x)
            if skip is not None:
                x = jnp.concatenate(self._aligned(skip, x), axis=-1)
            convs = DoubleConv(width, self.padding, self.conv_block, name=f"conv{level + 1}")
            x = features[f"up{level + 1}"] = convs(x, train=train)
        return features

    def _aligned(self, skip: Array, x: Array) -> tuple[Array, Array]:
        """Both at the same size: the finer map cropped, or the coarser one resized to it."""
        if self.padding:
            return skip, resize_to(x, skip.shape[1:3])
        height, width = x.shape[1:3]
        top, left = (skip.shape[1] - height) // 2, (skip.shape[2] - width) // 2
        return skip[:, top : top + height, left : left + width], x


class UNet(nn.Module):
    """Images to logits [batch, height, width, num_classes] of every pixel, float32 or wider.

    `features` returns the maps of the contracting path, `level1`, `level2`, … or those of the
    encoder, and of the expanding path, …, `up2`, `up1`. Parameters are `backbone`, `decoder` and
    `head`.

    Attributes:
        border: "mirror" has no padding in its convolutions, and mirrors the image at its border,
            as far as the outputs need it, so that they have the size of the image. "valid" does not
            mirror: the outputs are those of the middle, 388x388 pixels for an image of 572x572.
            "same" pads the convolutions with zeros, and the image to a multiple of the stride.
        encoder: a classifier's name, or a model with `features`, in place of the contracting path,
            with `border="same"`. The last map of each stride is handed over.
        widths: number of channels at the strides 1, 2, 4, …; for an encoder those of the expanding
            path.
        num_classes: number of outputs, the background among them; 0 or None gives the features
            before the last layer.
        dropout: dropout rate of the last two levels of the contracting path (rng "dropout").
        norm: normalization after each convolution; "frozen" normalizes with the running
            statistics, also in training.
        dtype: dtype of the convolutions, such as bfloat16; parameters, statistics and the last
            layer stay float32. None is that of input and parameters.

    Raises:
        ConfigError: attributes that make no sense; images that are not [batch, height, width,
            channels], or for "valid" of a size at which a pooled map would be odd.
    """

    border: Border
    encoder: Encoder | None = None
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    num_classes: int | None = 2
    dropout: float = 0.5
    norm: OptionalNorm = "none"
    dtype: Dtype | None = None

    def __post_init__(self) -> None:
        self.num_classes = as_num_classes(self.num_classes)
        check_choice("border", self.border, ("mirror", "valid", "same"))
        check_choice("norm", self.norm, ("none", "batch", "frozen"))
        if self.encoder is not None and self.border != "same":
            raise ConfigError(
                f"an encoder pads its convolutions: set border='same', got {self.border!r}"
            )
        super().__post_init__()

    @nn.nowrap
    def make_backbone(self) -> Any:
        if self.encoder is not None:
            return make_encoder(self.encoder, self.norm, self.dtype)
        return ContractingPath(self.widths, self.padding, self.dropout, self.make_block())

    @nn.nowrap
    def make_block(self) -> Any:
        conv = partial(
            Conv,
            use_bias=self.norm == "none",
            dtype=self.dtype,
            kernel_init=kernel_init,
            bias_init=zeros,
        )
        return partial(ConvNormReLU, conv=conv, norm=make_norm(self.norm, dtype=self.dtype))

    @property
    def padding(self) -> int:
        """Padding of the 3x3 convolutions."""
        return 1 if self.border == "same" else 0

    def setup(self) -> None:
        up = partial(ConvTranspose, kernel_size=2, stride=2, dtype=self.dtype, bias_init=zeros)
        self.backbone = self.make_backbone()
        self.decoder = ExpandingPath(self.widths, self.padding, self.make_block(), up)
        self.head = make_classifier(self.num_classes, partial(Conv, kernel_size=1))

    def features(self, x: Images, *, train: bool = False) -> dict[str, Feature]:
        """The feature maps of both paths, in forward order."""
        check_images(x, 1)
        strides = self.backbone.feature_strides()
        largest = max(strides.values())
        if largest > 2 ** len(self.widths):
            raise ConfigError(
                f"an encoder of stride {largest} needs widths at the strides 1, 2, … below it, got "
                f"{len(self.widths)}: {self.widths}"
            )
        maps = self.backbone.features(self._with_border(jnp.asarray(x), largest), train=train)
        by_stride = {stride: maps[names[-1]] for stride, names in maps_by_stride(strides).items()}
        return {**maps, **self.decoder(by_stride[largest], by_stride, train=train)}

    def __call__(
        self, x: Images, *, train: bool = False
    ) -> Float[Array, "batch out_height out_width classes"]:
        *_, last = self.features(x, train=train).values()
        logits = self.head(at_least_float32(last))
        if self.border == "same":
            return crop_to_image(
                logits, x.shape[1:3], max(self.backbone.feature_strides().values())
            )
        return logits if self.border == "valid" else logits[:, : x.shape[1], : x.shape[2]]

    @nn.nowrap
    def _with_border(self, x: Array, stride: int) -> Array:
        if self.border == "same":
            return pad_to_multiple(x, stride)
        # Two convolutions of each level take 4 pixels; seen from the image, 4 (1 + 2 + … + stride)
        # on the way down and 4 (1 + 2 + … + stride / 2) on the way up.
        lost, on_the_way_up = 12 * stride - 8, 4 * stride - 4
        if self.border == "mirror":
            rows, columns = (
                mirrored(size, lost // 2, lost // 2 + -(size + on_the_way_up) % stride)
                for size in x.shape[1:3]
            )
            return x[:, rows][:, :, columns]
        for size in x.shape[1:3]:
            outputs = size - lost
            if outputs < 1 or (outputs + on_the_way_up) % stride:
                smallest = lost + 1 + -(1 + on_the_way_up) % stride
                below = size - (size - smallest) % stride
                way_out = f"crop to {below} or pad to {below + stride}"
                if size < smallest:
                    way_out = f"pad to {smallest}"
                raise ConfigError(
                    f"border='valid' needs images of {smallest} + n * {stride} pixels, so that all "
                    f"pooled maps are even, got {x.shape[1]}x{x.shape[2]}; {way_out}, or set "
                    "border='mirror'"
                )
        return x

    @nn.nowrap
    def feature_strides(self) -> dict[str, int]:
        """Stride of each map of `features`, in pixels of the image."""
        strides = self.make_backbone().feature_strides()
        levels = range(max(strides.values()).bit_length() - 2, -1, -1)
        return strides | {f"up{level + 1}": 2**level for level in levels}


register("unet", UNet, (572, 572, 1), defaults={"border": "mirror"})
register(
    "unet_bn",
    UNet,
    (256, 256, 3),
    defaults={"border": "same", "norm": "batch", "dropout": 0.0},
)
