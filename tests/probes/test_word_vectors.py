"""Word vectors that update only the rows that a step has touched."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from cnn_jax.data import Dataset, WindowSplit
from cnn_jax.training import (
    Evaluated,
    Experiment,
    OptimizerConfig,
    Plan,
    Program,
    TrainingConfig,
    gather_over_devices,
    init_state,
    step_sums,
    sum_over_devices,
)
from tests.probes.checks import check_devices, check_resume

USED, SIZE, NEGATIVES = 40, 8, 3
Make = Callable[[Experiment, Plan], Program]


def skip_gram(vocabulary: int) -> Make:
    """Negative sampling: the middle of a window predicts its neighbours."""

    def make(experiment: Experiment, plan: Plan) -> Program:
        rate = experiment.optimizer.learning_rate

        def init(key: Any, change: Any) -> Any:
            table = jax.random.normal(key, (vocabulary, SIZE)) * 0.1
            params = change({"params": {"inputs": table, "outputs": -table}})["params"]
            return init_state(params, {}, None, key)

        def places(key: Any, batch: Any) -> tuple[Any, Any]:
            keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, batch["slot"])
            draw = jax.vmap(lambda k: jax.random.randint(k, (NEGATIVES,), 0, USED))
            tokens = batch["tokens"]
            middle = tokens.shape[1] // 2
            others = jnp.delete(tokens, middle, axis=1, assume_unique_indices=True)
            return tokens[:, middle], jnp.concatenate([others, draw(keys)], axis=1)

        def loss_of_rows(rows: Any, weight: Any) -> Any:
            inputs, outputs = rows
            sign = jnp.where(jnp.arange(outputs.shape[1]) < outputs.shape[1] - NEGATIVES, 1, -1)
            scores = jnp.einsum("bd,bnd->bn", inputs, outputs)
            return jnp.sum(jax.nn.softplus(-sign[None] * scores) * weight[:, None])

        def train_step(state: Any, batch: Any) -> Any:
            centre, others = places(jax.random.fold_in(state.key, state.step), batch)
            rows = state.params["inputs"][centre], state.params["outputs"][others]
            loss, grads = jax.value_and_grad(loss_of_rows)(rows, batch["weight"])
            (centre, others), grads = gather_over_devices(((centre, others), grads))
            params = {
                "inputs": state.params["inputs"].at[centre].add(-rate * grads[0]),
                "outputs": state.params["outputs"].at[others].add(-rate * grads[1]),
            }
            loss, weight = sum_over_devices((loss, jnp.sum(batch["weight"])))
            state = state.replace(step=state.step + 1, params=params)
            return state, step_sums(loss, grads, batch, weight=weight)

        def evaluate(state: Any, batch: Any, carry: Any) -> Evaluated:
            centre, others = places(state.key, batch)
            rows = state.params["inputs"][centre], state.params["outputs"][others]
            sums = {"loss": loss_of_rows(rows, batch["weight"])}
            return Evaluated(sums | {"weight": jnp.sum(batch["weight"])})

        return Program(
            init=init,
            train_step=train_step,
            predict=lambda state, batch: state.params["inputs"][batch["tokens"][:, 0]],
            evaluate=evaluate,
            summarize=lambda sums: {"cost": float(sums["loss"]) / float(sums["weight"])},
            metrics=("cost",),
            best_metric="cost",
            higher_is_better=False,
        )

    return make


def words(seed: int, n: int) -> WindowSplit:
    tokens = np.random.default_rng(seed).integers(0, USED, n).astype(np.int32)
    return WindowSplit(tokens, length=5, stride=1, contiguous=False)


def experiment(vocabulary: int) -> Experiment:
    return Experiment(
        dataset=Dataset("words", "words", {"train": words(0, 900), "validation": words(1, 50)}, ()),
        task=None,
        program=skip_gram(vocabulary),
        optimizer=OptimizerConfig(learning_rate=0.05),
        training=TrainingConfig(duration="8 steps", batch_size=64, log_every="4 steps"),
    )


def test_untouched_rows_keep_their_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = experiment(100)
    result = check_resume(one, tmp_path, monkeypatch, stop=3)
    fresh = one.program(one, Plan(8, 4, 8, 8)).init(jax.random.key(3), lambda v: v)
    for name, table in fresh.params.items():
        after = result.variables["params"][name]
        np.testing.assert_array_equal(after[USED:], table[USED:])
        assert np.all(np.any(after[:USED] != table[:USED], axis=1))


@pytest.mark.parametrize("vocabulary", [2_000, 20_000])
def test_a_step_does_not_move_the_tables(vocabulary: int) -> None:
    """Its time cannot grow with the vocabulary: tables are updated in place, row by row."""
    one = experiment(vocabulary)
    program = one.program(one, Plan(8, 4, 8, 8))
    state = program.init(jax.random.key(0), lambda variables: variables)
    batch = {"tokens": jnp.zeros((64, 5), jnp.int32), "weight": jnp.ones(64)}
    batch |= {"slot": jnp.arange(64, dtype=jnp.int32)}

    def steps(state: Any, n: Any) -> Any:
        return lax.fori_loop(0, n, lambda _, s: program.train_step(s, batch)[0], state)

    compiled = jax.jit(steps, donate_argnums=0).lower(state, 3).compile()
    memory, tables = compiled.memory_analysis(), 2 * vocabulary * SIZE * 4
    assert memory.alias_size_in_bytes >= tables
    assert memory.temp_size_in_bytes < 50_000
    shape = rf"= f32\[{vocabulary},{SIZE}\]\S* (\w[\w-]*)\("
    makers = set(re.findall(shape, compiled.as_text()))
    assert makers <= {"parameter", "get-tuple-element", "fusion", "scatter"}, makers


def test_devices_agree(tmp_path: Path) -> None:
    check_devices(experiment(100), tmp_path)
