"""The pure training step: what it adds to loss and optimizer."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax.tasks import Classification
from cnn_jax.training import init_state, make_eval_step, make_train_step
from tests.tolerance import assert_close
from tests.training.small import ConvNet

TASK = Classification(ConvNet(norm="frozen"))


def batch(n: int = 8) -> dict[str, jax.Array]:
    rng = np.random.default_rng(0)
    return {
        "image": jnp.asarray(rng.normal(size=(n, 8, 8, 1)), jnp.float32),
        "label": jnp.asarray(rng.integers(0, 4, n), jnp.int32),
        "weight": jnp.ones(n),
        "index": jnp.arange(n, dtype=jnp.int32),
    }


def as_it_is(batch: dict, key: jax.Array, train: bool) -> dict:
    return batch


def state(ema: bool = False):
    params, model_state = TASK.init(jax.random.key(0), (8, 8, 1))
    return init_state(params, model_state, optax.sgd(0.1), jax.random.key(1), ema=ema)


def step(**settings):
    return jax.jit(make_train_step(TASK.loss_fn, optax.sgd(0.1), prepare=as_it_is, **settings))


def test_a_step_follows_the_mean_gradient() -> None:
    before = state()

    def mean_loss(params: dict) -> jax.Array:
        return TASK.loss_fn(params, before.model_state, batch(), before.key, True)[0] / 8

    after, sums = step()(before, batch())
    gradient = jax.grad(mean_loss)(before.params)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, before.params, gradient)
    assert_close(after.params, expected, rtol=1e-5, atol=1e-7)
    assert int(after.step) == 1
    assert float(sums["grad_norm"]) == pytest.approx(float(optax.tree.norm(gradient)), rel=1e-4)
    assert float(sums["weight"]) == 8 and float(sums["steps"]) == float(sums["finite_steps"]) == 1


def test_the_penalty_adds_its_gradient() -> None:
    def penalty(params: dict) -> jax.Array:
        return 3.0 * sum(jnp.sum(leaf) for leaf in jax.tree.leaves(params))

    plain, _ = step()(state(), batch())
    penalized, _ = step(penalty=penalty)(state(), batch())
    difference = jax.tree.map(jnp.subtract, plain.params, penalized.params)
    expected = jax.tree.map(lambda p: jnp.full(p.shape, 0.3), plain.params)
    assert_close(difference, expected, rtol=1e-4)


def test_the_plateau_factor_scales_the_update() -> None:
    before = state()
    halved = before.replace(control=before.control.replace(scale=jnp.float32(0.5)))
    whole, half = (step()(start, batch())[0].params for start in (before, halved))
    moved = jax.tree.map(jnp.subtract, whole, before.params)
    assert_close(
        jax.tree.map(lambda a, b: 2 * (a - b), half, before.params), moved, rtol=1e-4, atol=1e-6
    )


def test_moving_average() -> None:
    one = state(ema=True)
    two, _ = step(ema_decay=0.5)(one, batch())
    three, _ = step(ema_decay=0.5)(two, batch())
    # The decay is (1 + step) / (10 + step) until it reaches 0.5: 1/10, then 2/11.
    first = jax.tree.map(lambda e, p: 0.1 * e + 0.9 * p, one.ema, two.params)
    assert_close(two.ema, first, rtol=1e-5)
    second = jax.tree.map(lambda e, p: 2 / 11 * e + 9 / 11 * p, first, three.params)
    assert_close(three.ema, second, rtol=1e-5)
    sums = make_eval_step(TASK.loss_fn, prepare=as_it_is)(three, batch())
    averaged = TASK.loss_fn(three.ema, three.model_state, batch(), three.key, False)[0]
    assert float(sums["loss"]) == pytest.approx(float(averaged), rel=1e-5)


def test_a_step_that_is_not_finite_is_counted() -> None:
    broken = batch() | {"image": batch()["image"].at[0, 0, 0, 0].set(jnp.nan)}
    _, sums = step()(state(), broken)
    assert float(sums["steps"]) == 1 and float(sums["finite_steps"]) == 0
