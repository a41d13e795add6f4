"""Max unpooling and bed of nails."""

import numpy as np

from cnn_jax.layers import bed_of_nails, max_unpool
from tests.layers.parity import Operator, to_nchw, to_nhwc


def sample_max_unpool(draw):
    """Indices of windows that do not overlap: PyTorch promises nothing about repeated ones."""
    window, pooled = draw.pair(1, 3), draw.pair(1, 3)
    # Pooling leaves out rows and columns that do not fill a window.
    height, width = (n * k + draw.integer(0, k - 1) for n, k in zip(pooled, window, strict=True))
    x = draw.array(draw.integer(1, 2), *pooled, draw.integer(1, 3))
    chosen = np.abs(draw.array(2, *x.shape)) % 1
    rows = np.arange(pooled[0])[:, None, None] * window[0] + (chosen[0] * window[0]).astype(int)
    columns = np.arange(pooled[1])[:, None] * window[1] + (chosen[1] * window[1]).astype(int)
    return (x, rows * width + columns), dict(size=(height, width))


def torch_max_unpool(x, indices, size):
    from torch.nn.functional import max_unpool2d

    # Without a window that fits PyTorch would refuse the size; it serves nothing else.
    window = [out // n for out, n in zip(size, x.shape[1:3], strict=True)]
    x, indices = to_nchw(x), to_nchw(indices)
    return to_nhwc(max_unpool2d(x, indices, window, output_size=size))


def sample_bed_of_nails(draw):
    x = draw.array(draw.integer(1, 2), *draw.pair(1, 4), draw.integer(1, 3))
    return (x,), dict(factor=draw.choice((draw.integer(1, 3), draw.pair(1, 3))))


def torch_bed_of_nails(x, factor):
    vertical, horizontal = (factor, factor) if isinstance(factor, int) else factor
    batch, height, width, channels = x.shape
    y = x.new_zeros(batch, height * vertical, width * horizontal, channels)
    y[:, ::vertical, ::horizontal] = x
    return y


OPERATORS = (
    Operator("max_unpool", sample_max_unpool, max_unpool, torch_max_unpool),
    Operator("bed_of_nails", sample_bed_of_nails, bed_of_nails, torch_bed_of_nails),
)
