"""Pooling."""

from cnn_jax.layers import (
    adaptive_avg_pool,
    avg_pool,
    global_avg_pool,
    global_max_pool,
    max_pool,
    max_pool_with_indices,
)
from tests.layers.parity import Operator, to_nchw, to_nhwc


def sample_images(draw):
    return (draw.array(draw.integer(1, 2), *draw.pair(1, 9), draw.integer(1, 3)),), {}


def sample_pool(draw):
    window, ceil_mode = draw.pair(1, 4), draw.boolean()
    stride = draw.choice((None, draw.pair(1, 5)))
    padding = draw.integer(0, window[0] // 2), draw.integer(0, window[1] // 2)
    image = []
    for k, s, p in zip(window, stride or window, padding, strict=True):
        # With ceil_mode a window may reach stride - 1 pixels beyond the image.
        smallest = max(1, k - 2 * p - (s - 1 if ceil_mode else 0))
        image.append(smallest + draw.integer(0, 6))
    x = draw.array(draw.integer(1, 2), *image, draw.integer(1, 3))
    return (x,), dict(window=window, stride=stride, padding=padding, ceil_mode=ceil_mode)


def sample_avg_pool(draw):
    inputs, settings = sample_pool(draw)
    return inputs, {**settings, "count_include_pad": draw.boolean()}


def sample_adaptive_avg_pool(draw):
    (x,), _ = sample_images(draw)
    return (x,), dict(size=draw.choice((draw.integer(1, 9), draw.pair(1, 9))))


def torch_max_pool(x, window, **settings):
    from torch.nn.functional import max_pool2d

    return to_nhwc(max_pool2d(to_nchw(x), window, **settings))


def indices_as_floats(x, **settings):
    return max_pool_with_indices(x, **settings)[1].astype(x.dtype)


def torch_indices_as_floats(x, window, **settings):
    from torch.nn.functional import max_pool2d

    _, indices = max_pool2d(to_nchw(x), window, return_indices=True, **settings)
    return to_nhwc(indices.to(x.dtype))


def torch_avg_pool(x, window, **settings):
    from torch.nn.functional import avg_pool2d

    return to_nhwc(avg_pool2d(to_nchw(x), window, **settings))


def torch_adaptive_avg_pool(x, size):
    from torch.nn.functional import adaptive_avg_pool2d

    return to_nhwc(adaptive_avg_pool2d(to_nchw(x), size))


OPERATORS = (
    Operator("max_pool", sample_pool, max_pool, torch_max_pool),
    Operator(
        "max_pool_with_indices, values",
        sample_pool,
        lambda x, **settings: max_pool_with_indices(x, **settings)[0],
        torch_max_pool,
    ),
    Operator(
        "max_pool_with_indices, indices", sample_pool, indices_as_floats, torch_indices_as_floats
    ),
    Operator("avg_pool", sample_avg_pool, avg_pool, torch_avg_pool),
    Operator(
        "adaptive_avg_pool", sample_adaptive_avg_pool, adaptive_avg_pool, torch_adaptive_avg_pool
    ),
    Operator("global_avg_pool", sample_images, global_avg_pool, lambda x: x.mean((1, 2))),
    Operator("global_max_pool", sample_images, global_max_pool, lambda x: x.amax((1, 2))),
)
