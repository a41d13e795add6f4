"""Convolution."""

from cnn_jax.layers import conv2d
from tests.layers.parity import Operator


def sample_conv2d(draw):
    stride, dilation, padding = draw.pair(1, 3), draw.pair(1, 3), draw.pair(0, 3)
    window = draw.integer(1, 3), draw.integer(1, 4)
    smallest = [
        max(1, (k - 1) * d + 1 - 2 * p) for k, d, p in zip(window, dilation, padding, strict=True)
    ]
    height, width = (n + draw.integer(0, 6) for n in smallest)
    groups = draw.choice((1, 1, 2, 3))
    channels, features = draw.integer(1, 3), groups * draw.integer(1, 2)
    x = draw.array(draw.integer(1, 3), height, width, groups * channels)
    kernel, bias = draw.array(*window, channels, features), draw.array(features)
    settings = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    return (x, kernel, bias), settings


def torch_conv2d(x, kernel, bias, **settings):
    from torch.nn.functional import conv2d

    y = conv2d(x.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1), bias, **settings)
    return y.permute(0, 2, 3, 1)


OPERATORS = (Operator("conv2d", sample_conv2d, conv2d, torch_conv2d),)
