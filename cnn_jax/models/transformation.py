"""A network that gives an image a style in one pass: residual blocks between two strided stages.

Source: Johnson, Alahi and Fei-Fei: "Perceptual Losses for Real-Time Style Transfer and
Super-Resolution", 2016, with instance normalization (Ulyanov et al. 2016). The network is that of
PyTorch's example fast_neural_style, which pads by reflection, and enlarges by repeating pixels
before a convolution: a transposed convolution leaves a checkerboard (Odena et al. 2016).
"""

from typing import Literal, get_args

import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype
from jaxtyping import Array

from cnn_jax.layers import Conv, ConvTranspose, InstanceNorm, relu, resize_nearest
from cnn_jax.models import torch_names
from cnn_jax.models.arrays import Feature, Images, at_least_float32
from cnn_jax.models.checks import check_choice, check_images
from cnn_jax.models.registry import register

Upsampling = Literal["nearest", "transposed"]


def reflect(x: Array, pixels: int) -> Array:
    """The image with a border of its own pixels, mirrored at the outermost ones."""
    return jnp.pad(x, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), mode="reflect")


class ReflectConv(nn.Module):
    """A convolution of the image with a mirrored border, which keeps its size without a stride.

    Attributes:
        features: number of channels of the output.
        kernel_size: odd.
        stride: distance between positions of the kernel, in pixels.
        upsample: repeat each pixel so many times along both axes before.
        dtype: dtype of the computation; None is that of input and parameters.
    """

    features: int
    kernel_size: int
    stride: int = 1
    upsample: int = 1
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if self.upsample > 1:
            height, width = x.shape[1:3]
            x = resize_nearest(x, (self.upsample * height, self.upsample * width))
        x = reflect(x, self.kernel_size // 2)
        conv = Conv(self.features, self.kernel_size, self.stride, dtype=self.dtype, name="conv")
        return conv(x)


class ResidualBlock(nn.Module):
    """Two convolutions with instance normalization, added to the input; no ReLU follows."""

    dtype: Dtype | None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        width = x.shape[-1]
        y = ReflectConv(width, 3, dtype=self.dtype, name="conv1")(x)
        y = relu(InstanceNorm(dtype=self.dtype, name="norm1")(y))
        y = ReflectConv(width, 3, dtype=self.dtype, name="conv2")(y)
        return x + InstanceNorm(dtype=self.dtype, name="norm2")(y)


class TransformationBody(nn.Module):
    """Returns `conv1` to `conv3`, `block1`, …, and `up1` and `up2`, all but blocks after ReLU."""

    width: int
    blocks: int
    upsampling: Upsampling
    dtype: Dtype | None

    @nn.compact
    def __call__(self, images: Images) -> dict[str, Feature]:
        check_images(images, 1)
        x, features = jnp.asarray(images), {}
        for number, (factor, kernel, stride) in enumerate(((1, 9, 1), (2, 3, 2), (4, 3, 2)), 1):
            conv = ReflectConv(
                factor * self.width, kernel, stride, dtype=self.dtype, name=f"conv{number}"
            )
            x = features[f"conv{number}"] = self._normalized(conv(x), f"norm{number}")
        for number in range(1, self.blocks + 1):
            block = ResidualBlock(self.dtype, name=f"block{number}")
            x = features[f"block{number}"] = block(x)
        for number, factor in ((1, 2), (2, 1)):
            y = self._enlarged(x, factor * self.width, f"up{number}")
            x = features[f"up{number}"] = self._normalized(y, f"up_norm{number}")
        return features

    def _normalized(self, x: Array, name: str) -> Array:
        return relu(InstanceNorm(dtype=self.dtype, name=name)(x))

    def _enlarged(self, x: Array, features: int, name: str) -> Array:
        if self.upsampling == "nearest":
            return ReflectConv(features, 3, upsample=2, dtype=self.dtype, name=name)(x)
        return ConvTranspose(
            features, 3, 2, padding=1, output_padding=1, dtype=self.dtype, name=name
        )(x)


class TransformationNetwork(nn.Module):
    """RGB images to images of the same size, both of pixels from 0 to 255, float32 or wider.

    The output is not clipped. An image may have any size: the example gives one of odd size as a
    multiple of four, of which this is the upper left part. `features` returns the maps `conv1` to
    `conv3`, `block1` to `block5`, `up1` and `up2`. With the defaults there are 1,679,235
    parameters, in `body` and `head`. Training and evaluation compute the same.

    Attributes:
        width: channels of the first convolution; the residual blocks have four times as many.
        blocks: number of residual blocks.
        upsampling: "nearest" repeats pixels before a convolution, as the example; "transposed" is a
            transposed convolution, as in the paper.
        dtype: dtype of the computation, such as bfloat16; parameters and output stay float32. None
            is that of input and parameters.

    Raises:
        ConfigError: another upsampling; images that are not [batch, height, width, channels].
    """

    width: int = 32
    blocks: int = 5
    upsampling: Upsampling = "nearest"
    dtype: Dtype | None = None

    def __post_init__(self) -> None:
        check_choice("upsampling", self.upsampling, get_args(Upsampling))
        super().__post_init__()

    def setup(self) -> None:
        self.body = TransformationBody(self.width, self.blocks, self.upsampling, self.dtype)
        self.head = ReflectConv(3, 9)

    def features(self, x: Images, *, train: bool = False) -> dict[str, Feature]:
        """The feature maps, in forward order."""
        return self.body(x)

    def __call__(self, x: Images, *, train: bool = False) -> Images:
        height, width = x.shape[1:3]
        *_, last = self.body(x).values()
        return self.head(at_least_float32(last))[:, :height, :width]

    @nn.nowrap
    def feature_strides(self) -> dict[str, int]:
        """Stride of each map of `features`, in pixels of the image."""
        blocks = {f"block{number}": 4 for number in range(1, self.blocks + 1)}
        return {"conv1": 1, "conv2": 2, "conv3": 4, **blocks, "up1": 2, "up2": 1}

    @nn.nowrap
    def torch_names(self) -> dict[str, str]:
        """Paths of all parameters in our variables, by the names in PyTorch's example."""
        names: dict[str, str] = {}
        for number in (1, 2, 3):
            names |= _conv_names(f"conv{number}", f"body/conv{number}")
            names |= _norm_names(f"in{number}", f"body/norm{number}")
        for block in range(1, self.blocks + 1):
            for number in (1, 2):
                names |= _conv_names(f"res{block}.conv{number}", f"body/block{block}/conv{number}")
                names |= _norm_names(f"res{block}.in{number}", f"body/block{block}/norm{number}")
        for number in (1, 2):
            if self.upsampling == "nearest":
                names |= _conv_names(f"deconv{number}", f"body/up{number}")
            else:
                names |= torch_names.conv(f"deconv{number}", f"body/up{number}", bias=True)
            names |= _norm_names(f"in{number + 3}", f"body/up_norm{number}")
        return names | _conv_names("deconv3", "head")


def _conv_names(torch: str, path: str) -> dict[str, str]:
    return torch_names.conv(f"{torch}.conv2d", f"{path}/conv", bias=True)


def _norm_names(torch: str, path: str) -> dict[str, str]:
    """The entries of a `torch.nn.InstanceNorm2d`, which has no statistics."""
    return {f"{torch}.weight": f"params/{path}/scale", f"{torch}.bias": f"params/{path}/bias"}


register("transformation", TransformationNetwork, (256, 256, 3))
