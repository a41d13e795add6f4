"""Word vectors that update only the rows that a step has touched: skip-gram, negative sampling."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import training
from tests.probes.checks import check_devices, check_in_place, check_resume
from tests.probes.generated import USED, dataset, words

SIZE, NEGATIVES, RATE = 8, 3, 0.05
PLAN = training.Plan(8, 4, 8, 8)


def pairs(key: Any, batch: Any) -> tuple[Any, Any]:
    """The middle word of each window, and its neighbours followed by random words."""
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, batch["slot"])
    noise = jax.vmap(lambda one: jax.random.randint(one, (NEGATIVES,), 0, USED))(keys)
    tokens = batch["tokens"]
    return tokens[:, 2], jnp.concatenate([tokens[:, :2], tokens[:, 3:], noise], axis=1)


def loss_of_rows(rows: Any, weight: Any) -> Any:
    sign = jnp.where(jnp.arange(4 + NEGATIVES) < 4, 1, -1)
    scores = jnp.einsum("bd,bnd->bn", *rows)
    return jnp.sum(jax.nn.softplus(-sign[None] * scores) * weight[:, None])


def skip_gram(vocabulary: int) -> Any:
    def init(key: Any, change: Any) -> Any:
        table = jax.random.normal(key, (vocabulary, SIZE)) * 0.1
        params = change({"params": {"inputs": table, "outputs": -table}})["params"]
        return training.init_state(params, {}, None, key)

    def loss(state: Any, batch: Any, key: Any) -> Any:
        places = dict(zip(("inputs", "outputs"), pairs(key, batch), strict=True))
        rows = [state.params[name][place] for name, place in places.items()]
        return places, jax.value_and_grad(loss_of_rows)(rows, batch["weight"])

    def train_step(state: Any, batch: Any) -> Any:
        places, (value, grads) = loss(state, batch, jax.random.fold_in(state.key, state.step))
        places, grads = training.gather_over_devices((places, grads))
        params = {
            name: state.params[name].at[place].add(-RATE * grad)
            for (name, place), grad in zip(places.items(), grads, strict=True)
        }
        value, weight = training.sum_over_devices((value, jnp.sum(batch["weight"])))
        state = state.replace(step=state.step + 1, params=params)
        return state, training.step_sums(value, grads, batch, weight=weight)

    def evaluate(state: Any, batch: Any, carry: Any) -> training.Evaluated:
        _, (value, _) = loss(state, batch, state.key)
        return training.Evaluated({"loss": value, "weight": jnp.sum(batch["weight"])})

    def predict(state: Any, batch: Any) -> Any:
        return state.params["inputs"][batch["tokens"][:, 2]]

    def cost(sums: Any) -> dict[str, float]:
        return {"cost": float(sums["loss"]) / float(sums["weight"])}

    return lambda experiment, plan: training.Program(
        init, train_step, predict, evaluate, cost, ("cost",), "cost", higher_is_better=False
    )


EXPERIMENT = training.Experiment(
    dataset=dataset({"train": words(0, 900), "validation": words(1, 50)}),
    task=None,
    program=skip_gram(100),
    optimizer=training.OptimizerConfig(),
    training=training.TrainingConfig(duration="8 steps", batch_size=64, log_every="4 steps"),
)


def test_untouched_rows_keep_their_bits(tmp_path, monkeypatch):
    result = check_resume(EXPERIMENT, tmp_path, monkeypatch, stop=3)
    fresh = skip_gram(100)(EXPERIMENT, PLAN).init(jax.random.key(3), lambda variables: variables)
    for name, table in fresh.params.items():
        after = result.variables["params"][name]
        np.testing.assert_array_equal(after[USED:], table[USED:])
        assert np.all(np.any(after[:USED] != table[:USED], axis=1))


@pytest.mark.parametrize("vocabulary", [2_000, 20_000])
def test_a_step_does_not_move_the_tables(vocabulary):
    batch = {"tokens": jnp.zeros((64, 5), int), "slot": jnp.arange(64), "weight": jnp.ones(64)}
    check_in_place(skip_gram(vocabulary)(EXPERIMENT, PLAN), batch, (vocabulary, SIZE))


def test_devices_agree(tmp_path):
    check_devices(EXPERIMENT, tmp_path)
