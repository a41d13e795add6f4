"""Convolution and its adjoint."""

from cnn_jax.layers import conv2d, conv_transpose2d, depthwise_conv2d
from tests.layers.parity import Operator, to_nchw, to_nhwc, to_oihw


def sample_conv2d(draw):
    stride, dilation, padding = draw.pair(1, 3), draw.pair(1, 3), draw.pair(0, 3)
    window = draw.integer(1, 3), draw.integer(1, 4)
    image = image_that_fits(draw, window, dilation, padding)
    groups = draw.choice((1, 1, 2, 3))
    channels, features = draw.integer(1, 3), groups * draw.integer(1, 2)
    x = draw.array(draw.integer(1, 3), *image, groups * channels)
    kernel, bias = draw.array(*window, channels, features), draw.array(features)
    settings = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    return (x, kernel, bias), settings


def image_that_fits(draw, window, dilation, padding):
    """Height and width of an image that a window has between one and seven positions in."""
    axes = zip(window, dilation, padding, strict=True)
    smallest = [max(1, (k - 1) * d + 1 - 2 * p) for k, d, p in axes]
    return [n + draw.integer(0, 6) for n in smallest]


def torch_conv2d(x, kernel, bias, **settings):
    from torch.nn.functional import conv2d

    return to_nhwc(conv2d(to_nchw(x), to_oihw(kernel), bias, **settings))


def sample_depthwise_conv2d(draw):
    dilation, padding, window = draw.pair(1, 2), draw.pair(0, 2), draw.pair(1, 3)
    image = image_that_fits(draw, window, dilation, padding)
    channels, multiplier = draw.integer(1, 3), draw.integer(1, 2)
    x = draw.array(draw.integer(1, 2), *image, channels)
    kernel, bias = draw.array(*window, channels, multiplier), draw.array(channels * multiplier)
    return (x, kernel, bias), dict(stride=draw.pair(1, 2), padding=padding, dilation=dilation)


def torch_depthwise_conv2d(x, kernel, bias, **settings):
    from torch.nn.functional import conv2d

    weight = to_oihw(kernel.flatten(2, 3)[:, :, None])
    return to_nhwc(conv2d(to_nchw(x), weight, bias, groups=x.shape[3], **settings))


def sample_conv_transpose2d(draw):
    window = draw.integer(1, 3), draw.integer(1, 4)
    image = draw.pair(1, 4)
    strides, dilations, paddings, more = [], [], [], []
    for n, k in zip(image, window, strict=True):
        s, d = draw.integer(1, 3), draw.integer(1, 2)
        m = draw.integer(0, max(s, d) - 1)
        uncut = (n - 1) * s + (k - 1) * d + 1 + m
        p = draw.integer(0, min(3, (uncut - 1) // 2))
        for values, value in zip((strides, dilations, paddings, more), (s, d, p, m), strict=True):
            values.append(value)
    groups = draw.choice((1, 1, 2, 3))
    channels, features = groups * draw.integer(1, 2), draw.integer(1, 3)
    x = draw.array(draw.integer(1, 3), *image, channels)
    kernel, bias = draw.array(*window, features, channels), draw.array(groups * features)
    settings = dict(
        stride=tuple(strides),
        padding=tuple(paddings),
        output_padding=tuple(more),
        dilation=tuple(dilations),
        groups=groups,
    )
    return (x, kernel, bias), settings


def torch_conv_transpose2d(x, kernel, bias, **settings):
    from torch.nn.functional import conv_transpose2d

    return to_nhwc(conv_transpose2d(to_nchw(x), to_oihw(kernel), bias, **settings))


OPERATORS = (
    Operator("conv2d", sample_conv2d, conv2d, torch_conv2d),
    Operator("depthwise_conv2d", sample_depthwise_conv2d, depthwise_conv2d, torch_depthwise_conv2d),
    Operator("conv_transpose2d", sample_conv_transpose2d, conv_transpose2d, torch_conv_transpose2d),
)
