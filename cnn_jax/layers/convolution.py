"""Two-dimensional convolution (cross-correlation) with both gradients stated explicitly."""

from functools import partial

import jax
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from flax.typing import Dtype, Initializer
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata
from jaxtyping import Array, Float

from cnn_jax.layers.initializers import torch_bias_init, torch_kernel_init
from cnn_jax.layers.windows import Padding, Pads, Size, output_size, pads, pair

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def conv2d(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "kernel_height kernel_width group_channels features"],
    bias: Float[Array, " features"] | None = None,
    *,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Float[Array, "batch out_height out_width features"]:
    """Convolve images with kernels, as `torch.nn.functional.conv2d`.

    Reverse-mode gradients of any order and `vmap` work; forward mode (`jvp`) does not.

    Args:
        x: images.
        kernel: one kernel a feature, over channels / groups channels.
        bias: added to each feature.
        stride: distance of the kernel's positions, in pixels.
        padding: zeros around the image.
        dilation: distance of the kernel's taps, in pixels.
        groups: channels and features are split into this many groups, convolved separately.

    Raises:
        ValueError: channels or features that do not fit `groups` and the kernel, or a kernel
            larger than the padded image.
    """
    _, height, width, channels = x.shape
    *window, group_channels, features = kernel.shape
    if channels != group_channels * groups or features % groups:
        raise ValueError(
            f"a kernel of shape {kernel.shape} with groups={groups} takes "
            f"{group_channels * groups} channels and makes a multiple of {groups} features, "
            f"got images of shape {x.shape} (batch, height, width, channels)"
        )
    strides, sides, dilations = pair(stride), pads(padding), pair(dilation)
    output_size((height, width), (window[0], window[1]), strides, sides, dilations)
    y = _convolve(x, kernel, strides, sides, dilations, groups)
    return y if bias is None else y + bias[None, None, None, :]


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
    padding: Padding = 0
    dilation: Size = 1
    groups: int = 1
    use_bias: bool = True
    dtype: Dtype | None = None
    kernel_init: Initializer = torch_kernel_init
    bias_init: Initializer | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch out_height out_width features"]:
        height, width = pair(self.kernel_size)
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


# XLA's CPU compiler runs the gradients of a convolution inside a loop (`lax.scan`, `fori_loop`)
# some 40 times slower than outside, because it rewrites them into the layout that its fast
# convolution wants only outside of loops (jax issue 12868). Stated in that layout from the start,
# they are fast everywhere. GPU and TPU compilers recognize the transposition that JAX itself
# makes, so there it stays.


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def _convolve(
    x: Array,
    kernel: Array,
    stride: tuple[int, int],
    padding: Pads,
    dilation: tuple[int, int],
    groups: int,
) -> Array:
    return _xla_convolve(x, kernel, stride, padding, dilation, groups)


def _xla_convolve(
    x: Array,
    kernel: Array,
    stride: tuple[int, int],
    padding: Pads,
    dilation: tuple[int, int],
    groups: int,
) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        stride,
        padding,
        rhs_dilation=dilation,
        dimension_numbers=_LAYOUT,
        feature_group_count=groups,
    )


def _forward(
    x: Array,
    kernel: Array,
    stride: tuple[int, int],
    padding: Pads,
    dilation: tuple[int, int],
    groups: int,
) -> tuple[Array, tuple[Array, Array]]:
    return _xla_convolve(x, kernel, stride, padding, dilation, groups), (x, kernel)


def _backward(
    stride: tuple[int, int],
    padding: Pads,
    dilation: tuple[int, int],
    groups: int,
    residuals: tuple[Array, Array],
    gradient: Array,
) -> tuple[Array, Array]:
    x, kernel = residuals
    geometry = (stride, padding, dilation, groups)
    of_input = lax.platform_dependent(
        kernel,
        gradient,
        cpu=lambda kernel, gradient: _input_gradient(x.shape, kernel, gradient, *geometry),
        default=lambda kernel, gradient: jax.linear_transpose(
            lambda images: _xla_convolve(images, kernel, *geometry), x
        )(gradient)[0],
    )
    of_kernel = lax.platform_dependent(
        x,
        gradient,
        cpu=lambda x, gradient: _kernel_gradient_apart(x, kernel.shape, gradient, *geometry),
        default=lambda x, gradient: jax.linear_transpose(
            lambda weights: _xla_convolve(x, weights, *geometry), kernel
        )(gradient)[0],
    )
    return of_input, of_kernel


_convolve.defvjp(_forward, _backward)


def _input_gradient(
    shape: tuple[int, ...],
    kernel: Array,
    gradient: Array,
    stride: tuple[int, int],
    padding: Pads,
    dilation: tuple[int, int],
    groups: int,
) -> Array:
    """Convolution of the gradient, spread out by the stride, with the turned kernel."""
    height, width, channels, features = kernel.shape
    turned = kernel[::-1, ::-1].reshape(height, width, channels, groups, features // groups)
    turned = turned.transpose(0, 1, 4, 3, 2)
    sides = []
    for axis in (0, 1):
        reach = (kernel.shape[axis] - 1) * dilation[axis]
        spread = (gradient.shape[axis + 1] - 1) * stride[axis] + 1
        before = reach - padding[axis][0]
        sides.append((before, shape[axis + 1] + reach - spread - before))
    return lax.conv_general_dilated(
        gradient,
        turned.reshape(height, width, features // groups, groups * channels),
        (1, 1),
        sides,
        lhs_dilation=stride,
        rhs_dilation=dilation,
        dimension_numbers=_LAYOUT,
        feature_group_count=groups,
    )


def _kernel_gradient(
    x: Array,
    shape: tuple[int, ...],
    gradient: Array,
    stride: tuple[int, int],
    padding: Pads,
    dilation: tuple[int, int],
    groups: int,
) -> Array:
    """Convolution of the images with the gradient, where batch and channels change places."""
    batch, height, width, _ = x.shape
    images = x.reshape(batch, height, width, groups, shape[2]).transpose(4, 1, 2, 3, 0)
    sides = []
    for axis in (0, 1):
        reach = (shape[axis] - 1) * dilation[axis]
        spread = (gradient.shape[axis + 1] - 1) * stride[axis] + 1
        before = padding[axis][0]
        sides.append((before, reach + spread - x.shape[axis + 1] - before))
    weights = lax.conv_general_dilated(
        images.reshape(shape[2], height, width, groups * batch),
        gradient.transpose(1, 2, 0, 3),
        dilation,
        sides,
        rhs_dilation=stride,
        dimension_numbers=_LAYOUT,
        feature_group_count=groups,
    )
    return weights.transpose(1, 2, 0, 3)


_kernel_gradient_call = jax.jit(_kernel_gradient, static_argnums=(1, 3, 4, 5, 6))


def _kernel_gradient_apart(
    x: Array,
    shape: tuple[int, ...],
    gradient: Array,
    stride: tuple[int, int],
    padding: Pads,
    dilation: tuple[int, int],
    groups: int,
) -> Array:
    """The kernel's gradient as a call of its own, which the compiler does not inline.

    Inlined, its transposition would be fused with everything elementwise that led to x, down the
    whole residual stream: computed anew, and in strides that miss the cache. The whole step of a
    ResNet-20 takes 1.4 times as long then.
    """
    with set_xla_metadata(inlineable="false"):
        return _kernel_gradient_call(x, shape, gradient, stride, padding, dilation, groups)
