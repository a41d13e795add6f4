"""Transposed convolution: the adjoint of a convolution, which makes images larger."""

import operator
from typing import SupportsIndex

from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Float, Shaped

from cnn_jax.layers.arguments import IMAGES, Images, as_float, check_axes
from cnn_jax.layers.channels import add_per_channel
from cnn_jax.layers.correlation import spread
from cnn_jax.layers.initializers import torch_bias_init, torch_kernel_init
from cnn_jax.layers.windows import Geometry, Padding, Size, check_steps, pads, pair


def conv_transpose2d(
    x: Images,
    kernel: Shaped[Array, "kernel_height kernel_width group_features channels"],
    bias: Shaped[Array, " features"] | None = None,
    *,
    stride: Size = 1,
    padding: Padding = 0,
    output_padding: Size = 0,
    dilation: Size = 1,
    groups: SupportsIndex = 1,
) -> Float[Array, "batch out_height out_width features"]:
    """Transposed convolution, as `torch.nn.functional.conv_transpose2d`.

    Each pixel is multiplied by the kernel, and the products are added up where they overlap. This
    is the adjoint of `conv2d` with the same kernel: `<conv2d(y, k), x>` equals
    `<y, conv_transpose2d(x, k)>`. So the kernel has the layout of `conv2d`, with the channels of x
    last. PyTorch's weight is converted as that of any convolution, `weight.permute(2, 3, 1, 0)`.

    An output has (size - 1) stride + (kernel size - 1) dilation + 1 + output_padding pixels, less
    the padding.

    Args:
        x: images.
        kernel: one kernel a channel, over features / groups features.
        bias: added to each feature.
        stride: distance between positions of the kernel in the output, in pixels.
        padding: pixels removed around the output.
        output_padding: additional pixels at the bottom and right, which a convolution with a stride
            does not reach; smaller than the stride or the dilation.
        dilation: distance between taps of the kernel, in pixels.
        groups: channels and features are split into this many groups.

    Raises:
        ValueError: if channels do not fit `groups` and the kernel, `output_padding` is too large or
            negative, or the padding removes the whole output.
    """
    check_axes(IMAGES, x=x)
    check_axes("kernel_height kernel_width group_features channels", kernel=kernel)
    check_axes("features", bias=bias)
    x, kernel, groups = as_float(x, kernel), as_float(kernel, x), operator.index(groups)
    batch, *image, channels = x.shape
    *window, group_features, kernel_channels = kernel.shape
    if channels != kernel_channels or channels % groups:
        raise ValueError(
            f"a kernel of shape {kernel.shape} (height, width, features / groups, channels) with "
            f"groups={groups} takes {kernel_channels} channels, a multiple of {groups}, got images "
            f"of shape {x.shape} (batch, height, width, channels)"
        )
    strides, dilations = pair("stride", stride), pair("dilation", dilation)
    more = pair("output_padding", output_padding)
    sides = pads(padding)
    check_steps(strides, sides, dilations)
    if any(not 0 <= m < max(s, d) for m, s, d in zip(more, strides, dilations, strict=True)):
        raise ValueError(
            f"output_padding {more} must not be negative and must be smaller than the stride "
            f"{strides} or the dilation {dilations}"
        )
    # The convolution whose adjoint this is pads the bottom and right by that much less.
    (top, bottom), (left, right) = sides
    less = (top, bottom - more[0]), (left, right - more[1])
    height, width = (
        (n - 1) * s + (k - 1) * d + 1 - sum(p)
        for n, s, k, d, p in zip(image, strides, window, dilations, less, strict=True)
    )
    if min(height, width) < 1:
        raise ValueError(
            f"padding {padding} removes everything: the output would have {height}x{width} pixels"
        )
    shape = (batch, height, width, group_features * groups)
    y = spread(x, kernel, shape, Geometry(strides, less, dilations, groups))
    return y if bias is None else add_per_channel(y, as_float(bias, y))


class ConvTranspose(nn.Module):
    """Transposed convolution with its parameters, as `torch.nn.ConvTranspose2d`.

    Parameters `kernel` [kernel height, kernel width, features / groups, channels] and `bias`
    [features].

    Attributes:
        features: number of output channels.
        kernel_size: one number or (height, width).
        stride, padding, output_padding, dilation, groups: as in `conv_transpose2d`.
        use_bias: whether a bias is added.
        dtype: dtype of the computation and of the output; None promotes input and parameters.
        kernel_init: initializer of the kernel; default uniform in ±1/sqrt(fan in), which is
            PyTorch's: kernel area * features / groups.
        bias_init: initializer of the bias; None is uniform in ±1/sqrt(fan in).
    """

    features: int
    kernel_size: Size
    stride: Size = 1
    padding: Padding = 0
    output_padding: Size = 0
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
        if self.features % self.groups:
            raise ValueError(f"features={self.features} is no multiple of groups={self.groups}")
        features = self.features // self.groups
        kernel = self.param("kernel", self.kernel_init, (height, width, features, x.shape[-1]))
        bias = None
        if self.use_bias:
            bias_init = self.bias_init or torch_bias_init(height * width * features)
            bias = self.param("bias", bias_init, (self.features,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        return conv_transpose2d(
            x,
            kernel,
            bias,
            stride=self.stride,
            padding=self.padding,
            output_padding=self.output_padding,
            dilation=self.dilation,
            groups=self.groups,
        )
