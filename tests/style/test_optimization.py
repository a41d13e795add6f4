"""The optimization of an image, on problems whose solution is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.errors import ConfigError
from cnn_jax.style import optimize_image
from tests.tolerance import assert_close

TARGET = jnp.asarray(np.random.default_rng(0).uniform(0, 1, (1, 4, 5, 3)), jnp.float32)
START = jnp.full_like(TARGET, 0.5)


def squared(target, images):
    """Two terms with a badly conditioned sum."""
    scale = jnp.linspace(1, 100, images.shape[2])[None, None, :, None]
    return {"far": jnp.sum(scale * (images - target) ** 2), "more": jnp.sum((images - target) ** 4)}


def results(**options):
    return list(optimize_image(squared, TARGET, START, **options))


@pytest.mark.parametrize(
    ("optimizer", "iterations"), [("lbfgs", 25), ("adam", 300)], ids=["lbfgs", "adam"]
)
def test_the_minimum_is_found(optimizer, iterations):
    *_, last = results(optimizer=optimizer, iterations=iterations, every=100)
    assert last.iteration == iterations
    assert_close(last.image, TARGET, rtol=0, atol=2e-3)


def test_results_come_with_their_terms():
    parts = results(iterations=7, every=3)
    assert [one.iteration for one in parts] == [0, 3, 6, 7]
    np.testing.assert_array_equal(parts[0].image, START)
    for one in parts:
        terms = {name: float(value) for name, value in squared(TARGET, one.image).items()}
        assert_close(one.terms, terms | {"loss": sum(terms.values())}, rtol=1e-4, atol=1e-6)
    losses = [one.terms["loss"] for one in parts]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_the_distance_of_results_changes_nothing(optimizer):
    often, once = (
        results(optimizer=optimizer, iterations=6, every=every)[-1].image for every in (2, 6)
    )
    np.testing.assert_array_equal(often, once)


def test_no_iterations_leave_the_start():
    (only,) = results(iterations=0, every=5)
    np.testing.assert_array_equal(only.image, START)


def test_one_program_serves_all_stretches(monkeypatch):
    traced = []

    def counted(target, images):
        traced.append(1)
        return squared(target, images)

    run = optimize_image(counted, TARGET, START, iterations=7, every=2, optimizer="adam")
    next(run)
    before = len(traced)
    assert before and [one.iteration for one in run] == [2, 4, 6, 7]
    assert len(traced) == before


def test_a_loss_that_is_not_finite_is_said():
    def broken(target, images):
        return {"style": jnp.sum(images) * jnp.inf}

    with pytest.raises(
        ConfigError, match="not finite after 0 iterations: loss inf, style inf; use"
    ):
        next(optimize_image(broken, TARGET, START, iterations=2, every=1))
    assert jax.numpy.isfinite(START).all()
