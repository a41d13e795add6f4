"""Two-dimensional convolution, over all channels, in groups of them, or in each by itself."""

import operator
from typing import SupportsIndex

from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Float, Shaped

from cnn_jax.layers.arguments import IMAGES, Images, as_float, check_axes
from cnn_jax.layers.channels import add_per_channel
from cnn_jax.layers.correlation import convolve
from cnn_jax.layers.initializers import torch_bias_init, torch_kernel_init
from cnn_jax.layers.windows import ConvPadding, Geometry, Size, conv_pads, output_size, pair

KERNEL = "kernel_height kernel_width group_channels features"


def conv2d(
    x: Images,
    kernel: Shaped[Array, "kernel_height kernel_width group_channels features"],
    bias: Shaped[Array, " features"] | None = None,
    *,
    stride: Size = 1,
    padding: ConvPadding = 0,
    dilation: Size = 1,
    groups: SupportsIndex = 1,
) -> Float[Array, "batch out_height out_width features"]:
    """Convolve images with kernels, as `torch.nn.functional.conv2d`.

    A kernel is three-dimensional: it covers all input channels. With stride s, dilation d and
    padding p, where x is zero outside of the image and the kernel is not flipped,

        y[n, i, j, f] = bias[f] + sum over u, v, c of
                        x[n, i s + u d - p, j s + v d - p, c] kernel[u, v, c, f]

    With `groups`, feature f sees the channels of its own group only. A 1x1 kernel mixes the
    channels of each pixel. For one kernel a channel, see `depthwise_conv2d`.

    Args:
        x: images.
        kernel: one kernel a feature, over channels / groups channels.
        bias: added to each feature.
        stride: distance between positions of the kernel, in pixels.
        padding: zeros around the image. "same" is PyTorch's: with a stride of 1 the output has the
            size of the image, and an odd number of zeros has one more at the bottom or right;
            "valid" is 0.
        dilation: distance between taps of the kernel, in pixels.
        groups: channels and features are split into this many groups, convolved separately.

    Raises:
        ValueError: if an array has other axes, channels or features do not fit `groups` and the
            kernel, the kernel is larger than the padded image, or padding is "same" with a stride.
    """
    check_axes(IMAGES, x=x)
    check_axes(KERNEL, kernel=kernel)
    check_axes("features", bias=bias)
    x, kernel, groups = as_float(x, kernel), as_float(kernel, x), operator.index(groups)
    batch, height, width, channels = x.shape
    *window, group_channels, features = kernel.shape
    if channels != group_channels * groups or features % groups:
        raise ValueError(
            f"a kernel of shape {kernel.shape} with groups={groups} takes "
            f"{group_channels * groups} channels and makes a multiple of {groups} features, "
            f"got images of shape {x.shape} (batch, height, width, channels)"
        )
    strides, dilations = pair("stride", stride), pair("dilation", dilation)
    sides = conv_pads(padding, (window[0], window[1]), strides, dilations)
    geometry = Geometry(strides, sides, dilations, groups)
    size = output_size((height, width), (window[0], window[1]), *geometry[:3])
    y = convolve(x, kernel, (batch, *size, features), geometry)
    return y if bias is None else add_per_channel(y, as_float(bias, y))


def depthwise_conv2d(
    x: Images,
    kernel: Shaped[Array, "kernel_height kernel_width channels multiplier"],
    bias: Shaped[Array, " features"] | None = None,
    *,
    stride: Size = 1,
    padding: ConvPadding = 0,
    dilation: Size = 1,
) -> Float[Array, "batch out_height out_width features"]:
    """Convolve each channel with kernels of its own: `conv2d` with one group a channel.

    Feature `c * multiplier + m` is channel c convolved with its kernel m, as in PyTorch with
    `groups=channels`.

    Args:
        x: images.
        kernel: `multiplier` kernels for every channel.
        bias: added to each feature.
        stride, padding, dilation: as in `conv2d`.

    Raises:
        ValueError: if the kernel is for another number of channels, or as in `conv2d`.
    """
    check_axes(KERNEL, kernel=kernel)
    height, width, channels, multiplier = kernel.shape
    kernel = kernel.reshape(height, width, 1, channels * multiplier)
    return conv2d(
        x, kernel, bias, stride=stride, padding=padding, dilation=dilation, groups=channels
    )


class Conv(nn.Module):
    """Convolution with its parameters, as `torch.nn.Conv2d`.

    Parameters `kernel` [kernel height, kernel width, channels / groups, features] and `bias`
    [features].

    Attributes:
        features: number of output channels.
        kernel_size: one number or (height, width).
        stride, padding, dilation, groups: as in `conv2d`.
        use_bias: whether a bias is added.
        dtype: dtype of the computation and of the output; None promotes input and parameters.
        kernel_init: initializer of the kernel; default uniform in ±1/sqrt(fan in).
        bias_init: initializer of the bias; None is uniform in ±1/sqrt(fan in).
    """

    features: int
    kernel_size: Size
    stride: Size = 1
    padding: ConvPadding = 0
    dilation: Size = 1
    groups: int = 1
    use_bias: bool = True
    dtype: Dtype | None = None
    kernel_init: Initializer = torch_kernel_init
    bias_init: Initializer | None = None

    @nn.compact
    def __call__(self, x: Images) -> Float[Array, "batch out_height out_width features"]:
        check_axes(IMAGES, x=x)
        height, width = pair("kernel_size", self.kernel_size)
        channels = x.shape[-1] // self.groups
        kernel = self.param("kernel", self.kernel_init, (height, width, channels, self.features))
        bias = None
        if self.use_bias:
            bias_init = self.bias_init or torch_bias_init(height * width * channels)
            bias = self.param("bias", bias_init, (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        return conv2d(
            x,
            kernel,
            bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )
