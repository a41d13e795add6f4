"""Muon against its formulas in NumPy and the singular vectors of the momentum."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax.training import airbench_muon, orthogonalize
from tests.tolerance import assert_close


def quintic(gradient, steps):
    """The iteration of airbench94_muon.py, on a matrix [filters, values]."""
    x = gradient / (np.linalg.norm(gradient) + 1e-7)
    x = x.T if len(gradient) > gradient.shape[1] else x
    for _ in range(steps):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if len(gradient) > gradient.shape[1] else x


@pytest.mark.parametrize("filters", [4, 40])
def test_updates_match_airbench(filters):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        kernel = rng.normal(size=(3, 3, 2, filters))
        rule = airbench_muon(lambda step: 0.24 * (1 - step / 5), momentum=0.6)
        params = {"kernel": jnp.asarray(kernel)}
        state = rule.init(params)
        # PyTorch's order of axes, and the formulas of airbench.
        weight, buffer = kernel.transpose(3, 2, 0, 1), 0.0
        for step in range(4):
            gradient = rng.normal(size=kernel.shape)
            updates, state = rule.update({"kernel": jnp.asarray(gradient)}, state, params)
            params = optax.apply_updates(params, updates)

            g = gradient.transpose(3, 2, 0, 1)
            buffer = 0.6 * buffer + g
            g = g + 0.6 * buffer
            weight = weight * (len(weight) ** 0.5 / np.linalg.norm(weight))
            update = quintic(g.reshape(filters, -1), 3).reshape(g.shape)
            weight = weight - 0.24 * (1 - step / 5) * update
            assert_close(params["kernel"].transpose(3, 2, 0, 1), weight)


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (5, 5)])
def test_singular_values_become_about_one_and_vectors_stay(shape):
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        left, _, right = np.linalg.svd(rng.normal(size=shape), full_matrices=False)
        values = np.geomspace(0.03, 1.0, len(right))
        matrix = (left * values) @ right
        result = np.asarray(orthogonalize(jnp.asarray(matrix), steps=3))
        found = np.diag(left.T @ result @ right.T)
        assert_close(result, (left * found) @ right)
        assert found.min() > 0.68 and found.max() < 1.21
        # The scale of the gradient does not matter.
        assert_close(orthogonalize(jnp.asarray(1e4 * matrix), steps=3), result, rtol=1e-5)


def test_bfloat16_is_close_and_keeps_the_dtype_of_the_parameters():
    gradient = jnp.asarray(np.random.default_rng(2).normal(size=(3, 3, 8, 16)), jnp.float32)
    kernel = jnp.ones((3, 3, 8, 16))
    updates = []
    for dtype in (None, jnp.bfloat16):
        rule = airbench_muon(0.1, dtype=dtype)
        updates.append(rule.update(gradient, rule.init(kernel), kernel)[0])
    assert updates[1].dtype == jnp.float32
    assert_close(updates[1], updates[0], rtol=0.05)


def test_without_gradient_only_the_norm_changes():
    rule = airbench_muon(0.1)
    kernel = jnp.full((1, 1, 4, 4), 3.0)
    updates, _ = rule.update(jnp.zeros_like(kernel), rule.init(kernel), kernel)
    assert_close(jnp.linalg.norm((kernel + updates).ravel()), 2.0, rtol=1e-6)
