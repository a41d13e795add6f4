"""A GAN: two networks, two optimizers, three discriminator steps, an average of the generator."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from cnn_jax.data import ArraySplit, Dataset
from cnn_jax.layers import Linear, leaky_relu
from cnn_jax.training import (
    Evaluated,
    Experiment,
    OptimizerConfig,
    Plan,
    Program,
    TrainingConfig,
    init_state,
    step_sums,
    sum_over_devices,
)
from tests.probes.checks import check_devices, check_resume

DISCRIMINATOR_STEPS, DECAY = 3, 0.9


class Perceptron(nn.Module):
    outputs: int

    @nn.compact
    def __call__(self, x: Any) -> Any:
        return Linear(self.outputs)(leaky_relu(Linear(16)(x)))


def gan(experiment: Experiment, plan: Plan) -> Program:
    networks = {"generator": Perceptron(2), "discriminator": Perceptron(1)}
    rules = {"generator": optax.adam(2e-3, b1=0.5), "discriminator": optax.adam(4e-3, b1=0.5)}

    def apply(name: str, params: Any, x: Any) -> Any:
        return networks[name].apply({"params": params[name]}, x)

    def init(key: Any, change: Any) -> Any:
        keys = dict(zip(networks, jax.random.split(key), strict=True))
        params = {n: net.init(keys[n], jnp.zeros((1, 2)))["params"] for n, net in networks.items()}
        params = change({"params": params})["params"]
        opt_state = {name: rule.init(params[name]) for name, rule in rules.items()}
        average = {"generator": params["generator"]}
        return init_state(params, {}, opt_state, key, ema=average)

    def fake(params: Any, key: Any, batch: Any) -> Any:
        # A key for each example, so that the noise does not depend on the devices.
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, batch["slot"])
        return apply("generator", params, jax.vmap(lambda k: jax.random.normal(k, (2,)))(keys))

    def losses(params: Any, key: Any, batch: Any) -> dict[str, Any]:
        real, made = batch["image"], fake(params, key, batch)
        on_real, on_fake = (apply("discriminator", params, x)[:, 0] for x in (real, made))
        discriminator = jax.nn.softplus(-on_real) + jax.nn.softplus(on_fake)
        each = {"discriminator": discriminator, "generator": jax.nn.softplus(-on_fake)}
        return {name: jnp.sum(loss * batch["weight"]) for name, loss in each.items()}

    def update(name: str, params: Any, opt_state: Any, key: Any, batch: Any) -> Any:
        def loss_of(own: Any) -> Any:
            return losses(params | {name: own}, key, batch)[name]

        loss, grads = sum_over_devices(jax.value_and_grad(loss_of)(params[name]))
        grads = jax.tree.map(lambda g: g / plan.batch_size, grads)
        updates, own_state = rules[name].update(grads, opt_state[name], params[name])
        params = params | {name: optax.apply_updates(params[name], updates)}
        return params, opt_state | {name: own_state}, loss, grads

    def train_step(state: Any, batch: Any) -> Any:
        params, opt_state = state.params, state.opt_state
        key = jax.random.fold_in(state.key, state.step)
        for number in range(DISCRIMINATOR_STEPS):
            step_key = jax.random.fold_in(key, number)
            params, opt_state, loss, _ = update("discriminator", params, opt_state, step_key, batch)
        params, opt_state, own, grads = update("generator", params, opt_state, key, batch)
        average = {"generator": params["generator"]}
        ema = optax.incremental_update(average, state.ema, 1 - DECAY)
        state = state.replace(step=state.step + 1, params=params, opt_state=opt_state, ema=ema)
        weight = sum_over_devices(jnp.sum(batch["weight"]))
        return state, step_sums(own, grads, batch, weight=weight, discriminator=loss)

    def evaluate(state: Any, batch: Any, carry: Any) -> Evaluated:
        sums = losses({**state.params, **state.ema}, state.key, batch)
        weight = jnp.sum(batch["weight"])
        return Evaluated({"loss": sums["generator"], "weight": weight} | sums)

    return Program(
        init=init,
        train_step=train_step,
        predict=lambda state, batch: fake(state.ema, state.key, batch),
        evaluate=evaluate,
        summarize=lambda sums: {"discriminator": sums["discriminator"] / sums["weight"]},
        metrics=("discriminator",),
        best_metric="discriminator",
        higher_is_better=True,
    )


def ring(seed: int, n: int) -> ArraySplit:
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi, n)
    return ArraySplit({"image": np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)})


EXPERIMENT = Experiment(
    dataset=Dataset("ring", "ring", {"train": ring(0, 128), "validation": ring(1, 21)}, ()),
    task=None,
    program=gan,
    optimizer=OptimizerConfig(),
    training=TrainingConfig(duration="9 steps", batch_size=32, log_every="3 steps"),
)


def test_only_the_generator_is_averaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = check_resume(EXPERIMENT, tmp_path, monkeypatch, stop=4)
    assert result.variables["params"].keys() == {"generator", "discriminator"}
    assert result.outputs("validation").shape == (21, 2)
    drawn = [row for row in result.rows if row["split"] == "train"]
    assert all(np.isfinite(row["discriminator"]) and row["grad_norm"] > 0 for row in drawn)


def test_devices_agree(tmp_path: Path) -> None:
    check_devices(EXPERIMENT, tmp_path)
