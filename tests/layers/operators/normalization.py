"""Batch, layer, group, instance and local response normalization."""

from cnn_jax.layers import (
    batch_norm,
    group_norm,
    instance_norm,
    l2_normalize,
    layer_norm,
    local_response_normalization,
    normalize_batch,
)
from tests.layers.parity import Operator, to_nchw, to_nhwc

EPS = (1e-5, 1e-3, 0.1)


def affine(draw, channels):
    """Scale and bias."""
    return draw.array(channels), draw.array(channels)


def activations(draw, *shape):
    """Far from zero mean and unit variance."""
    return 3 + 2 * draw.array(*shape)


def images(draw, channels):
    # Of very few values the variance can nearly vanish, and float32 says nothing then.
    return activations(draw, draw.integer(1, 3), draw.integer(2, 4), draw.integer(2, 5), channels)


def sample_batch_norm(draw):
    channels = draw.integer(1, 4)
    return (images(draw, channels), *affine(draw, channels)), {"eps": draw.choice(EPS)}


def our_batch_norm(x, scale, bias, eps):
    y, _, _ = normalize_batch(x, scale, bias, eps)
    return y


def torch_batch_norm(x, scale, bias, eps):
    from torch.nn.functional import batch_norm

    y = batch_norm(to_nchw(x), None, None, scale, bias, training=True, eps=eps)
    return to_nhwc(y)


def sample_batch_norm_evaluation(draw):
    channels = draw.integer(1, 4)
    mean, variance = draw.array(channels), 0.1 + abs(draw.array(channels))
    inputs = images(draw, channels), mean, variance, *affine(draw, channels)
    return inputs, {"eps": draw.choice(EPS)}


def torch_batch_norm_evaluation(x, mean, variance, scale, bias, eps):
    """Written out: PyTorch gives running statistics no gradient."""
    return (x - mean) / (variance + eps).sqrt() * scale + bias


def sample_layer_norm(draw):
    channels = draw.integer(4, 9)
    before = [draw.integer(1, 3) for _ in range(draw.integer(1, 3))]
    x = activations(draw, *before, channels)
    return (x, *affine(draw, channels)), {"eps": draw.choice(EPS)}


def torch_layer_norm(x, scale, bias, eps):
    from torch.nn.functional import layer_norm

    return layer_norm(x, x.shape[-1:], scale, bias, eps)


def sample_group_norm(draw):
    groups = draw.integer(1, 3)
    channels = groups * draw.integer(1, 3)
    settings = dict(groups=groups, eps=draw.choice(EPS))
    return (images(draw, channels), *affine(draw, channels)), settings


def our_group_norm(x, scale, bias, groups, eps):
    return group_norm(x, groups, scale, bias, eps)


def torch_group_norm(x, scale, bias, groups, eps):
    from torch.nn.functional import group_norm

    return to_nhwc(group_norm(to_nchw(x), groups, scale, bias, eps))


def sample_instance_norm(draw):
    channels = draw.integer(1, 4)
    return (images(draw, channels), *affine(draw, channels)), {"eps": draw.choice(EPS)}


def torch_instance_norm(x, scale, bias, eps):
    # PyTorch's instance_norm is the same, but its gradients are wrong for a single example whose
    # cotangent has the channels last (2.13): even that of the bias is not the cotangent's sum.
    from torch.nn.functional import group_norm

    return to_nhwc(group_norm(to_nchw(x), x.shape[-1], scale, bias, eps))


def sample_l2(draw):
    return (images(draw, draw.integer(1, 8)),), {}


def torch_l2(x):
    from torch.nn.functional import normalize

    return normalize(x, dim=-1)


def sample_local_response(draw):
    settings = dict(
        size=draw.integer(1, 7),
        alpha=draw.choice((1e-4, 0.1, 1.0)),
        beta=draw.choice((0.75, 0.5)),
        k=draw.choice((1.0, 2.0)),
    )
    return (images(draw, draw.integer(1, 8)),), settings


def torch_local_response(x, **settings):
    from torch.nn.functional import local_response_norm

    return to_nhwc(local_response_norm(to_nchw(x), **settings))


OPERATORS = (
    Operator("batch_norm", sample_batch_norm, our_batch_norm, torch_batch_norm),
    Operator(
        "batch_norm_evaluation",
        sample_batch_norm_evaluation,
        batch_norm,
        torch_batch_norm_evaluation,
    ),
    Operator("layer_norm", sample_layer_norm, layer_norm, torch_layer_norm),
    Operator("group_norm", sample_group_norm, our_group_norm, torch_group_norm),
    Operator("instance_norm", sample_instance_norm, instance_norm, torch_instance_norm),
    Operator("l2_normalize", sample_l2, l2_normalize, torch_l2),
    Operator(
        "local_response_normalization",
        sample_local_response,
        local_response_normalization,
        torch_local_response,
    ),
)
