"""Programs for accelerators consist of the operators that JAX's own layers give."""

import collections
import re

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from cnn_jax import layers
from tests.layers.convolutions import xla_convolution

ONE = ((1, 1), (1, 1))


def ours(x, kernels, scale):
    x = layers.conv2d(x, kernels[0], padding=1)
    x, _, _ = layers.normalize_batch(x, scale, scale)
    x = layers.max_pool(x, 3, 2, 1)
    x = layers.conv2d(x, kernels[1], scale, stride=2, padding=1)
    return jnp.sum(layers.conv2d(x, kernels[2], padding=1, groups=4))


def derived(x, kernels, scale):
    x = xla_convolution(x, kernels[0], (1, 1), ONE, (1, 1), 1)
    mean, variance = jnp.mean(x, (0, 1, 2)), jnp.var(x, (0, 1, 2))
    x = (x - mean) * lax.rsqrt(variance + 1e-5) * scale + scale
    x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), *ONE, (0, 0)))
    x = xla_convolution(x, kernels[1], (2, 2), ONE, (1, 1), 1) + scale
    return jnp.sum(xla_convolution(x, kernels[2], (1, 1), ONE, (1, 1), 4))


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_gradients_have_no_operator_more(platform):
    shapes = (3, 8), (8, 8), (2, 8)
    arguments = jnp.ones((2, 16, 16, 3)), [jnp.ones((3, 3, *s)) for s in shapes], jnp.ones(8)

    def operators(network):
        with jax.numpy_rank_promotion("allow"):
            traced = jax.jit(jax.grad(network, (1, 2))).trace(*arguments)
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        convolutions = re.findall(r"stablehlo.convolution.*(dim_numbers.*\}) :", text)
        return collections.Counter(re.findall(r"stablehlo\.(\w+)", text)), sorted(convolutions)

    (counts, convolutions), (expected, expected_convolutions) = map(operators, (ours, derived))
    assert convolutions == expected_convolutions and len(convolutions) == 7
    for name in ("transpose", "reverse", "reduce", "reduce_window", "select_and_scatter", "case"):
        assert counts[name] <= expected[name], name
    assert not counts["select_and_scatter"]
