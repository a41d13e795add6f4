import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from cnn_jax.layers import Conv, conv2d, depthwise_conv2d
from tests.layers.convolutions import convolutions, draw_normal, xla_convolution
from tests.tolerance import assert_close


def naive_convolution(x, kernel, stride, padding, dilation, groups):
    """Position by position, tap by tap."""
    x = np.pad(x, ((0, 0), *padding, (0, 0)))
    height, width, group_channels, features = kernel.shape
    rows = range(0, x.shape[1] - (height - 1) * dilation[0], stride[0])
    columns = range(0, x.shape[2] - (width - 1) * dilation[1], stride[1])
    y = np.zeros((x.shape[0], len(rows), len(columns), features))
    for i, top in enumerate(rows):
        for j, left in enumerate(columns):
            for feature in range(features):
                group = feature // (features // groups)
                channels = slice(group * group_channels, (group + 1) * group_channels)
                for a in range(height):
                    for b in range(width):
                        pixel = x[:, top + a * dilation[0], left + b * dilation[1], channels]
                        y[:, i, j, feature] += pixel @ kernel[a, b, :, feature]
    return y


@settings(max_examples=20, deadline=None, derandomize=True)
@given(convolutions())
def test_values_and_gradients_are_those_of_the_definition(case):
    x_shape, kernel_shape, geometry = case
    stride, padding, dilation, groups = geometry
    x, kernel = draw_normal(0, x_shape, kernel_shape)
    ours = functools.partial(
        conv2d, stride=stride, padding=padding, dilation=dilation, groups=groups
    )

    @jax.jit
    def both(x, kernel):
        y, pullback = jax.vjp(ours, x, kernel)
        _, reference_pullback = jax.vjp(lambda *a: xla_convolution(*a, *geometry), x, kernel)
        (gradient,) = draw_normal(1, y.shape)
        return y, pullback(jnp.asarray(gradient)), reference_pullback(jnp.asarray(gradient))

    with jax.enable_x64(True):
        y, gradients, expected = both(x, kernel)
        assert_close(y, naive_convolution(x, kernel, *geometry))
        assert_close(gradients, expected)


def test_depthwise_is_each_channel_by_itself():
    """And channel c under its kernel m is feature c * multiplier + m."""
    x, kernel, bias = draw_normal(0, (2, 5, 6, 3), (3, 2, 3, 2), (6,))
    with jax.enable_x64(True):
        y = depthwise_conv2d(*map(jnp.asarray, (x, kernel, bias)), stride=2, padding=1)
        for c, m in np.ndindex(3, 2):
            one = naive_convolution(
                x[..., [c]], kernel[:, :, [[c]], [[m]]], (2, 2), ((1, 1), (1, 1)), (1, 1), 1
            )
            assert_close(y[..., 2 * c + m], one[..., 0] + bias[2 * c + m])


def test_a_one_by_one_kernel_mixes_the_channels_of_each_pixel():
    x, kernel = draw_normal(0, (2, 3, 4, 3), (1, 1, 3, 5))
    with jax.enable_x64(True):
        assert_close(conv2d(jnp.asarray(x), jnp.asarray(kernel)), x @ kernel[0, 0])


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("shape", [(0, 5, 5, 4), (1, 1, 1, 4)])
def test_an_empty_batch_and_a_single_pixel(shape, groups):
    def energy(x, kernel):
        return (conv2d(x, kernel, padding=1, stride=2, groups=groups) ** 2).sum()

    arguments = jnp.ones(shape), jnp.ones((3, 3, 4 // groups, 2))
    gradients = jax.jit(jax.grad(energy, argnums=(0, 1)))(*arguments)
    assert [g.shape for g in gradients] == [a.shape for a in arguments]
    assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_under_its_kernel(value):
    x = jnp.zeros((2, 5, 5, 1)).at[0, 0, 0].set(value)
    y = conv2d(x, jnp.ones((3, 3, 1, 1)), padding=1)
    expected = np.zeros((2, 5, 5, 1))
    expected[0, :2, :2] = value
    np.testing.assert_array_equal(y, expected)


def test_module_takes_pytorch_s_default_initialization():
    layer = Conv(64, (3, 5), groups=2)
    parameters = layer.init(jax.random.key(0), jnp.zeros((1, 8, 8, 8)))["params"]
    bound = 1 / np.sqrt(3 * 5 * 4)
    assert parameters["kernel"].shape == (3, 5, 4, 64)
    for parameter in parameters.values():
        assert 0.9 * bound < np.abs(parameter).max() <= bound
        assert abs(parameter.mean()) < 0.2 * bound


@pytest.mark.parametrize(
    ("dtype", "image", "expected"),
    [
        (None, jnp.float32, jnp.float32),
        (None, jnp.bfloat16, jnp.float32),
        (jnp.bfloat16, jnp.float32, jnp.bfloat16),
    ],
)
def test_module_computes_in_its_dtype(dtype, image, expected):
    layer = Conv(4, 3, dtype=dtype)
    x = jnp.ones((1, 4, 4, 2), image)
    variables = layer.init(jax.random.key(0), x)
    assert variables["params"]["kernel"].dtype == jnp.float32
    assert layer.apply(variables, x).dtype == expected


@pytest.mark.parametrize(
    ("kernel", "options", "message"),
    [
        ((3, 3, 3, 4), {}, "takes 3 channels .* got images of shape"),
        ((3, 3, 2, 5), {"groups": 2}, "makes a multiple of 2 features"),
        ((5, 5, 4, 4), {}, "5x5 does not fit into an image of 4x4"),
        ((3, 3, 4, 4), {"dilation": 2}, "5x5 does not fit"),
        ((3, 3, 4, 4), {"stride": 0}, "stride .* must be at least 1"),
        ((3, 3, 4, 4), {"padding": -1}, "must not be negative"),
    ],
)
def test_shapes_that_do_not_fit_are_named(kernel, options, message):
    with pytest.raises(ValueError, match=message):
        conv2d(jnp.zeros((1, 4, 4, 4)), jnp.zeros(kernel), **options)


@pytest.mark.usefixtures("no_shape_hook")
def test_a_depthwise_kernel_for_other_channels_is_named():
    with pytest.raises(ValueError, match="takes 3 channels .* got images of shape"):
        depthwise_conv2d(jnp.zeros((1, 4, 4, 4)), jnp.zeros((3, 3, 3, 1)))
