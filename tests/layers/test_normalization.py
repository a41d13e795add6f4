import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from cnn_jax.layers import (
    GroupNorm,
    LayerNorm,
    adaptive_instance_norm,
    group_norm,
    instance_norm,
    instance_statistics,
    l2_normalize,
    layer_norm,
    local_response_normalization,
)
from tests.tolerance import assert_close


def draw(*shape, seed=0):
    """Far from zero mean and unit variance."""
    return 3 + 2 * np.random.default_rng(seed).standard_normal(shape)


def affine(channels, dtype=None):
    return tuple(jnp.asarray(a, dtype) for a in draw(2, channels, seed=1))


def standardized(x, axes, eps=1e-5):
    x = np.asarray(x, np.float64)
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def two_groups(x, scale, bias):
    return group_norm(x, 2, scale, bias)


NORMS = [layer_norm, two_groups, instance_norm]


@pytest.mark.parametrize("shape", [(4,), (2, 4), (2, 3, 3, 4)])
@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_layer_norm_normalizes_the_channels_of_a_position(shape, eps):
    with jax.enable_x64(True):
        x, (scale, bias) = draw(*shape), affine(4)
        expected = standardized(x, -1, eps) * np.asarray(scale) + np.asarray(bias)
        assert_close(layer_norm(jnp.asarray(x), scale, bias, eps), expected)


@pytest.mark.parametrize("space", [(), (5,), (3, 2), (2, 2, 3)])
def test_group_norm_normalizes_neighbouring_channels(space):
    with jax.enable_x64(True):
        x, (scale, bias) = draw(2, *space, 6), affine(6)
        axes = tuple(range(1, x.ndim))
        expected = np.concatenate(
            [standardized(x[..., first : first + 3], axes, 0.01) for first in (0, 3)], axis=-1
        )
        ours = group_norm(jnp.asarray(x), 2, scale, bias, 0.01)
        assert_close(ours, expected * np.asarray(scale) + np.asarray(bias))


def test_group_norm_of_as_many_groups_as_channels_is_instance_normalization():
    with jax.enable_x64(True):
        x, one, zero = draw(2, 3, 3, 4), jnp.ones(4), jnp.zeros(4)
        assert_close(group_norm(jnp.asarray(x), 4, one, zero), standardized(x, (1, 2)))
        assert_close(instance_norm(jnp.asarray(x), one, zero), standardized(x, (1, 2)))


def test_adaptive_instance_norm_gives_the_statistics_of_another_example():
    with jax.enable_x64(True):
        x, style = draw(2, 3, 4, 2), draw(1, 5, 2, 2, seed=1)
        y = np.asarray(adaptive_instance_norm(jnp.asarray(x), jnp.asarray(style), 1e-12))
        for statistic in (np.mean, np.std):
            of_style = np.broadcast_to(statistic(style, (1, 2)), (2, 2))
            assert_close(statistic(y, (1, 2)), of_style)
        # It is a linear map of each channel.
        assert_close(standardized(y, (1, 2), 0), standardized(x, (1, 2), 0), rtol=1e-6)
        mean, deviation = instance_statistics(jnp.asarray(x), 0.1)
        assert_close(mean[:, 0, 0], x.mean((1, 2)))
        assert_close(deviation[:, 0, 0], np.sqrt(x.var((1, 2)) + 0.1))


@pytest.mark.parametrize("norm", NORMS)
def test_gradients_equal_finite_differences(norm):
    with jax.enable_x64(True):
        x, (scale, bias) = jnp.asarray(draw(2, 2, 2, 4)), affine(4)
        check_grads(jax.jit(norm), (x, scale, bias), order=2, modes=["fwd", "rev"], eps=1e-5)


@pytest.mark.parametrize("norm", [*NORMS, lambda x, *_: local_response_normalization(x, 3)])
def test_an_example_does_not_depend_on_its_batch(norm):
    """Alone, in an empty batch, or beside one that is not finite."""
    with jax.enable_x64(True):
        x, parameters = jnp.asarray(draw(3, 2, 2, 4)), affine(4)
        y = norm(x, *parameters)
        assert_close(norm(x[:1], *parameters), y[:1])
        assert norm(x[:0], *parameters).shape == (0, 2, 2, 4)
        for value in (jnp.nan, jnp.inf):
            spoiled = norm(x.at[1, 0, 0, 0].set(value), *parameters)
            assert_close(spoiled[::2], y[::2])
            assert jnp.isnan(spoiled[1, 0, 0]).any()


@pytest.mark.parametrize("norm", NORMS)
def test_a_variance_far_from_zero_is_not_lost(norm):
    """E[x²] - E[x]² in float32 would be off by far more than the variance itself."""
    x, parameters = (1000 + draw(2, 8, 8, 4)).astype(np.float32), affine(4, jnp.float32)
    with jax.enable_x64(True):
        expected = norm(jnp.asarray(x, jnp.float64), *affine(4))
    assert_close(norm(jnp.asarray(x), *parameters), expected, rtol=1e-3)


@pytest.mark.parametrize("norm", NORMS)
def test_statistics_are_float32_in_bfloat16(norm):
    x = jnp.asarray(100 + draw(2, 8, 8, 4), jnp.bfloat16)
    with jax.enable_x64(True):
        parameters = affine(4, jnp.bfloat16)
        expected = norm(*(a.astype(jnp.float64) for a in (x, *parameters)))
    y = norm(x, *parameters)
    assert y.dtype == jnp.bfloat16
    assert_close(y, expected, rtol=4e-3)
    assert norm(x, *affine(4, jnp.float32)).dtype == jnp.float32


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("value", [0.0, 1e4, -1e4])
def test_equal_values_give_the_bias_and_finite_gradients(norm, value):
    x, (scale, bias) = jnp.full((1, 2, 2, 4), value), affine(4, jnp.float32)
    y, pullback = jax.vjp(norm, x, scale, bias)
    assert_close(y, jnp.broadcast_to(bias[None, None, None, :], y.shape), rtol=1e-6)
    for gradient in pullback(draw(1, 2, 2, 4).astype(np.float32)):
        assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize("groups", [0, 4, 12])
def test_channels_that_do_not_split_are_refused(groups):
    with pytest.raises(ValueError, match=rf"6 channels \(input \(1, 2, 6\)\) .* {groups} groups"):
        group_norm(jnp.ones((1, 2, 6)), groups, *affine(6, jnp.float32))


@pytest.mark.parametrize("norm", NORMS)
def test_parameters_that_do_not_fit_are_refused(norm, no_shape_hook):
    """One value is as wrong as three: it would be spread over the channels in silence."""
    message = r"each of the 4 channels \(input \(2, 4\)\), got shapes \(1,\) and \(4,\)"
    with pytest.raises(ValueError, match=message):
        norm(jnp.ones((2, 4)), jnp.ones(1), jnp.ones(4))


@pytest.mark.parametrize(
    ("layer", "function"), [(LayerNorm(eps=0.1), layer_norm), (GroupNorm(2, eps=0.1), two_groups)]
)
def test_a_layer_owns_scale_and_bias(layer, function):
    x = jnp.asarray(draw(2, 3, 3, 4), jnp.float32)
    before = layer.init(jax.random.key(0), x)
    expected = {"params": {"scale": np.ones(4), "bias": np.zeros(4)}}
    assert_close(before, expected, rtol=0, atol=0)
    scale, bias = affine(4, jnp.float32)
    y = layer.apply({"params": {"scale": scale, "bias": bias}}, x)
    assert (jnp.abs(y - function(x, scale, bias)) > 1e-3).any(), "eps is not passed on"
    half = layer.clone(dtype=jnp.bfloat16).apply({"params": {"scale": scale, "bias": bias}}, x)
    assert (y.dtype, half.dtype) == (jnp.float32, jnp.bfloat16)
    assert_close(half, y, rtol=4e-3)


def responses(x, size, alpha, beta, k):
    """By the definition, channel by channel."""
    y = np.empty_like(x)
    for channel in range(x.shape[-1]):
        first = channel - size // 2
        window = x[..., max(first, 0) : max(first + size, 0)]
        y[..., channel] = x[..., channel] / (k + alpha * (window**2).sum(-1) / size) ** beta
    return y


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6, 20])
@pytest.mark.parametrize("shape", [(7,), (2, 3, 2, 7)])
def test_local_response_is_the_definition(size, shape):
    with jax.enable_x64(True):
        x = draw(*shape)
        ours = local_response_normalization(jnp.asarray(x), size, alpha=0.2, beta=0.6, k=1.5)
        assert_close(ours, responses(x, size, 0.2, 0.6, 1.5))
        defaults = local_response_normalization(jnp.asarray(x), size)
        assert_close(defaults, responses(x, size, 1e-4, 0.75, 1))


def test_local_response_s_alexnet_is_as_the_docstring_says():
    """Krizhevsky et al. 2012, section 3.3: n = 5, k = 2, alpha = 1e-4, beta = 0.75."""
    with jax.enable_x64(True):
        a = 100 * draw(2, 9)
        b = np.empty_like(a)
        for i in range(9):
            window = slice(max(0, i - 2), min(9 - 1, i + 2) + 1)
            b[:, i] = a[:, i] / (2 + 1e-4 * (a[:, window] ** 2).sum(-1)) ** 0.75
        assert_close(local_response_normalization(jnp.asarray(a), 5, alpha=5e-4, k=2), b)


def test_local_response_at_extremes():
    def total(x):
        return jnp.sum(local_response_normalization(x, 5))

    value, gradient = jax.value_and_grad(total)(jnp.asarray([[0.0, 1e4, -1e4, 0.0, 1e4]]))
    assert jnp.isfinite(value)
    assert jnp.isfinite(gradient).all()
    x = jnp.asarray(100 + draw(2, 8), jnp.bfloat16)
    y = local_response_normalization(x, 5, alpha=1.0)
    assert y.dtype == jnp.bfloat16
    expected = responses(np.asarray(x, np.float64), 5, 1.0, 0.75, 1.0)
    assert_close(y, expected, rtol=4e-3)


def test_a_window_without_channels_is_refused():
    with pytest.raises(ValueError, match="at least 1 channel, got size 0"):
        local_response_normalization(jnp.ones((1, 3)), 0)


def test_l2_normalize_gives_the_norm_1_and_zeros_a_finite_gradient():
    x = jnp.array([[3.0, 4], [0, 0], [-2, 0]])
    assert_close(l2_normalize(x), np.array([[0.6, 0.8], [0, 0], [-1, 0]]), rtol=1e-6)
    gradient = jax.grad(lambda x: l2_normalize(x, 0.1)[:, 0].sum())(x)
    # Of x / norm: (1 - 0.6²) / 5 and -0.6 · 0.8 / 5.
    assert_close(gradient, np.array([[0.128, -0.096], [10, 0], [0, 0]]), rtol=1e-5)
