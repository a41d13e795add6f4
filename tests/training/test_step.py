"""One training step: averages, penalties, weights, precision."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.tasks import Classification
from cnn_jax.training import OptimizerConfig, l2_penalty, make_optimizer, make_train_step
from tests.tolerance import assert_close
from tests.training.small import ConvNet, advance, blobs, dataset, one_device, start, ways

FROZEN = Classification(ConvNet(norm="frozen"))
PLAIN = OptimizerConfig(learning_rate=0.5, momentum=0.0, nesterov=False)


def step_of(task: Any, optimizer: OptimizerConfig = PLAIN, **options: Any) -> Any:
    step = make_train_step(
        task.loss_fn,
        make_optimizer(optimizer, lambda step: optimizer.learning_rate),
        preprocess=lambda batch, key, train: batch,
        penalty=l2_penalty(optimizer),
        **options,
    )
    return jax.jit(step)


def a_batch(n: int = 8, weight: Any = None) -> dict[str, Any]:
    arrays = blobs(0, n).arrays
    return {
        "image": jnp.asarray(arrays["image"] / 255.0),
        "label": jnp.asarray(arrays["label"]),
        "slot": jnp.arange(n),
        "weight": jnp.asarray(np.ones(n) if weight is None else weight),
    }


def mean_loss(params: Any, state: Any, batch: Any) -> Any:
    loss, (_, sums) = FROZEN.loss_fn(params, state.model_state, batch, state.key, True)
    return loss / sums["weight"]


def test_a_step_is_gradient_descent_on_the_mean_loss_and_the_penalty() -> None:
    with jax.enable_x64(True):
        config = OptimizerConfig(
            learning_rate=0.5, momentum=0.0, nesterov=False, l2=0.1, decay_all=True
        )
        state, batch = start(FROZEN, dataset(), config), a_batch()
        after, sums = step_of(FROZEN, config)(state, batch)
        gradient = jax.grad(mean_loss)(state.params, state, batch)
        total = jax.tree.map(lambda g, w: g + 0.1 * w, gradient, state.params)
        expected = jax.tree.map(lambda w, g: w - 0.5 * g, state.params, total)
        assert_close(after.params, expected)
        norm = np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(total)))
        assert_close(sums["per_step"]["grad_norm"], norm)
    assert int(after.step) == 1
    assert float(sums["weight"]) == float(sums["examples"]) == 8
    assert float(sums["steps"]) == float(sums["finite_steps"]) == 1


def test_the_plateaus_factor_scales_the_update() -> None:
    state, batch = start(FROZEN, dataset(), PLAIN), a_batch()
    slower = state.replace(control=state.control.replace(scale=jnp.float32(0.25)))
    moves = [
        jax.tree.map(jnp.subtract, step_of(FROZEN)(one, batch)[0].params, one.params)
        for one in (slower, state)
    ]
    assert_close(moves[0], jax.tree.map(lambda u: 0.25 * u, moves[1]), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("mode", ["one device", "jit", "pmap"])
def test_examples_of_weight_zero_leave_the_gradient_of_the_rest(mode: str) -> None:
    # Whole devices have nothing to do, and others have more than their share.
    weight = np.array([1, 0, 0, 0, 1, 1, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0.0])
    with jax.enable_x64(True):
        parallel, state = ways()[mode], start(FROZEN, dataset(), PLAIN)
        batch = a_batch(16, weight)
        rest = {name: array[weight > 0] for name, array in batch.items()}
        expected, _ = step_of(FROZEN)(state, rest)
        step = parallel.compile(step_of(FROZEN), batch=1)
        host = {name: np.asarray(array) for name, array in batch.items()}
        after, sums = step(parallel.place(state), parallel.place_batch(host))
        assert_close(after.params, expected.params)
        assert float(sums["weight"]) == float(sums["examples"]) == 8


def test_a_batch_that_is_all_padding_changes_nothing() -> None:
    state = start(FROZEN, dataset(), PLAIN)
    after, _ = step_of(FROZEN)(state, a_batch(8, np.zeros(8)))
    assert_close(after.params, state.params, rtol=0, atol=0)


def test_moving_average_of_the_parameters() -> None:
    with jax.enable_x64(True):
        state = start(FROZEN, dataset(), PLAIN, ema_decay=0.15)
        step, expected = step_of(FROZEN, ema_decay=0.15), state.params
        for number in range(4):
            state, _ = step(state, a_batch())
            # (1 + t) / (10 + t): 0.1, 2/11; then the decay itself
            decay = min(0.15, (1 + number) / (10 + number))
            expected = jax.tree.map(
                lambda e, p, d=decay: d * e + (1 - d) * p, expected, state.params
            )
        assert_close(state.ema, expected)


def test_a_loss_that_is_not_finite_is_counted() -> None:
    state, batch = start(FROZEN, dataset(), PLAIN), a_batch()
    batch["image"] = batch["image"].at[0, 0, 0, 0].set(jnp.nan)
    _, sums = step_of(FROZEN)(state, batch)
    assert (float(sums["steps"]), float(sums["finite_steps"])) == (1, 0)


def test_bfloat16_computes_narrow_and_keeps_wide() -> None:
    results = {
        dtype: advance(one_device(), Classification(ConvNet(dtype=dtype)), dataset(), 1)
        for dtype in (None, jnp.bfloat16)
    }
    (wide, wide_sums), (narrow, narrow_sums) = results.values()
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(narrow))
    assert narrow_sums["loss"].dtype == np.float32
    assert np.isfinite(narrow_sums["loss"])
    assert narrow_sums["loss"] == pytest.approx(wide_sums["loss"], rel=0.02)
    assert narrow_sums["loss"] != wide_sums["loss"]
    assert_close(narrow["statistics"], wide["statistics"], rtol=0.05, atol=1e-3)
