"""Sizes and padding: what they may be, and how a wrong one is named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import layers
from tests.tolerance import assert_close

KEY = jax.random.key(0)


def test_numpy_s_integers_are_sizes():
    x, two = jnp.ones((1, 6, 6, 2)), np.int64(2)
    assert layers.max_pool(x, two, np.int32(1), np.uint8(1)).shape == (1, 7, 7, 2)
    assert layers.avg_pool(x, np.array([2, 3]), two).shape == (1, 3, 2, 2)
    kernel = jnp.ones((two, two, 1, 2))
    assert layers.conv2d(x, kernel, stride=two, groups=two).shape == (1, 3, 3, 2)
    assert layers.conv_transpose2d(x, kernel, stride=two, groups=two).shape == (1, 12, 12, 2)
    for operator in (layers.resize_nearest, layers.resize_bilinear, layers.adaptive_avg_pool):
        assert operator(x, two).shape == (1, 2, 2, 2)
    assert layers.bed_of_nails(x, two).shape == (1, 12, 12, 2)
    assert layers.subsample(x, (two, 3)).shape == (1, 3, 2, 2)
    layer = layers.Conv(two, two)
    assert layer.init_with_output(KEY, x)[0].shape == (1, 5, 5, 2)


@pytest.mark.parametrize("value", [1.5, "2", (1, 2, 3), None, (1, (2, 3))])
@pytest.mark.usefixtures("no_shape_hook")
def test_a_size_that_is_none_is_named(value):
    x, kernel = jnp.ones((1, 6, 6, 2)), jnp.ones((1, 1, 2, 2))
    cases = {
        "window": lambda: layers.max_pool(x, value),
        "size": lambda: layers.resize_nearest(x, value),
        "factor": lambda: layers.subsample(x, value),
        "dilation": lambda: layers.conv2d(x, kernel, dilation=value),
        "output_padding": lambda: layers.conv_transpose2d(x, kernel, output_padding=value),
        "kernel_size": lambda: layers.Conv(2, value).init(KEY, x),
    }
    for name, call in cases.items():
        with pytest.raises(ValueError, match=f"{name} must be an integer or .*, got"):
            call()


@pytest.mark.parametrize("value", ["SAME", 1.5, (1, 2, 3), None])
@pytest.mark.usefixtures("no_shape_hook")
def test_a_padding_that_is_none_is_named(value):
    x = jnp.ones((1, 6, 6, 2))
    for operator in (layers.max_pool, layers.conv_transpose2d, layers.conv2d):
        window = 2 if operator is layers.max_pool else jnp.ones((1, 1, 2, 2))
        with pytest.raises(ValueError, match="padding must be an integer, .*, got"):
            operator(x, window, padding=value)


@pytest.mark.parametrize("window", [(1, 1), (2, 3), (4, 5)])
@pytest.mark.parametrize("dilation", [1, (3, 2)])
def test_same_padding_is_pytorch_s(window, dilation):
    """The output has the size of the image; the odd zero lies at the bottom and right."""
    x = jnp.arange(2 * 7 * 9).reshape(1, 7, 9, 2).astype(jnp.float32)
    kernel = jnp.arange(window[0] * window[1] * 6).reshape(*window, 2, 3).astype(jnp.float32)
    rows, columns = ((k - 1) * d for k, d in zip(window, np.broadcast_to(dilation, 2), strict=True))
    sides = (rows // 2, -(-rows // 2)), (columns // 2, -(-columns // 2))
    y = layers.conv2d(x, kernel, padding="same", dilation=dilation)
    assert y.shape == (1, 7, 9, 3)
    np.testing.assert_array_equal(y, layers.conv2d(x, kernel, padding=sides, dilation=dilation))
    depthwise = layers.depthwise_conv2d(x, kernel, padding="same", dilation=dilation)
    assert depthwise.shape == (1, 7, 9, 6)
    of_module = layers.Conv(3, window, padding="same", dilation=dilation, use_bias=False)
    np.testing.assert_array_equal(of_module.apply({"params": {"kernel": kernel}}, x), y)
    valid = layers.conv2d(x, kernel[:1, :1], padding="valid")
    np.testing.assert_array_equal(valid, layers.conv2d(x, kernel[:1, :1]))


def test_same_padding_equals_pytorch():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((2, 7, 8, 3)).astype(np.float32)
    kernel = np.random.default_rng(1).standard_normal((4, 3, 3, 5)).astype(np.float32)
    expected = torch.nn.functional.conv2d(
        torch.tensor(x.transpose(0, 3, 1, 2)), torch.tensor(kernel.transpose(3, 2, 0, 1).copy()),
        padding="same", dilation=(1, 2),
    )  # fmt: skip
    y = layers.conv2d(jnp.asarray(x), jnp.asarray(kernel), padding="same", dilation=(1, 2))
    assert_close(y, expected.numpy().transpose(0, 2, 3, 1), rtol=1e-5)


def test_same_padding_with_a_stride_is_refused():
    with pytest.raises(ValueError, match=r"padding='same' needs a stride of 1.*, got \(1, 2\)"):
        layers.conv2d(jnp.ones((1, 6, 6, 2)), jnp.ones((3, 3, 2, 2)), padding="same", stride=(1, 2))
