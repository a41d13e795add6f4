"""Changing the size of images."""

from cnn_jax.layers import resize_bilinear, resize_nearest, subsample
from tests.layers.parity import Operator, to_nchw, to_nhwc


def sample_resize(draw):
    # PyTorch 2.13 repeats one row in an antialiased image one pixel wide: it is not a reference.
    size = draw.integer(1, 12), draw.integer(2, 12)
    return (draw.array(draw.integer(1, 2), *draw.pair(1, 9), draw.integer(1, 3)),), dict(size=size)


def sample_nearest(draw):
    inputs, settings = sample_resize(draw)
    return inputs, {**settings, "exact": draw.boolean()}


def sample_bilinear(draw):
    inputs, settings = sample_resize(draw)
    return inputs, {**settings, "align_corners": draw.boolean()}


def torch_nearest(x, size, exact):
    from torch.nn.functional import interpolate

    return to_nhwc(interpolate(to_nchw(x), size, mode="nearest-exact" if exact else "nearest"))


def torch_bilinear(x, size, **settings):
    from torch.nn.functional import interpolate

    return to_nhwc(interpolate(to_nchw(x), size, mode="bilinear", **settings))


def resize_antialiased(x, **settings):
    return resize_bilinear(x, antialias=True, **settings)


def torch_antialiased(x, **settings):
    return torch_bilinear(x, antialias=True, **settings)


def sample_subsample(draw):
    x = draw.array(draw.integer(1, 2), *draw.pair(1, 9), draw.integer(1, 3))
    return (x,), dict(factor=draw.integer(1, 4))


OPERATORS = (
    Operator("resize_nearest", sample_nearest, resize_nearest, torch_nearest),
    Operator("resize_bilinear", sample_bilinear, resize_bilinear, torch_bilinear),
    Operator("resize_bilinear, antialias", sample_bilinear, resize_antialiased, torch_antialiased),
    Operator("subsample", sample_subsample, subsample, lambda x, factor: x[:, ::factor, ::factor]),
)
