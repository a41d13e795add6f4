"""A GAN: two networks, two optimizers, three discriminator steps, an average of the generator."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from cnn_jax import training
from cnn_jax.layers import Linear, leaky_relu
from tests.probes.checks import check_devices, check_resume
from tests.probes.generated import dataset, ring

NETWORKS = {"generator": 2, "discriminator": 1}
RULES = {"generator": optax.adam(2e-3, b1=0.5), "discriminator": optax.adam(4e-3, b1=0.5)}
DISCRIMINATOR_STEPS, DECAY = 3, 0.9


def network(name: str) -> nn.Module:
    return nn.Sequential([Linear(16), leaky_relu, Linear(NETWORKS[name])])


def init(key: Any, change: Any) -> Any:
    params = {name: network(name).init(key, jnp.zeros((1, 2)))["params"] for name in NETWORKS}
    params = change({"params": params})["params"]
    opt_state = {name: rule.init(params[name]) for name, rule in RULES.items()}
    return training.init_state(params, {}, opt_state, key, ema={"generator": params["generator"]})


def fakes(params: Any, key: Any, batch: Any) -> Any:
    # A key for each example, so that the noise does not depend on the devices.
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, batch["slot"])
    noise = jax.vmap(lambda one: jax.random.normal(one, (2,)))(keys)
    return network("generator").apply({"params": params["generator"]}, noise)


def losses(params: Any, key: Any, batch: Any) -> dict[str, Any]:
    points = batch["image"], fakes(params, key, batch)
    discriminator = {"params": params["discriminator"]}
    real, fake = (network("discriminator").apply(discriminator, x)[:, 0] for x in points)
    of_discriminator = jax.nn.softplus(-real) + jax.nn.softplus(fake)
    each = {"discriminator": of_discriminator, "generator": jax.nn.softplus(-fake)}
    return {name: jnp.sum(loss * batch["weight"]) for name, loss in each.items()}


def gan(experiment: Any, plan: Any) -> training.Program:
    def train_step(state: Any, batch: Any) -> Any:
        params, opt_state = dict(state.params), dict(state.opt_state)
        key = jax.random.fold_in(state.key, state.step)
        sums: dict[str, Any] = {"weight": training.sum_over_devices(jnp.sum(batch["weight"]))}
        for number, name in enumerate(["discriminator"] * DISCRIMINATOR_STEPS + ["generator"]):

            def loss(own: Any, name: str = name, number: int = number) -> Any:
                return losses(params | {name: own}, jax.random.fold_in(key, number), batch)[name]

            sums[name], grads = training.sum_over_devices(jax.value_and_grad(loss)(params[name]))
            grads = jax.tree.map(lambda g: g / plan.batch_size, grads)
            updates, opt_state[name] = RULES[name].update(grads, opt_state[name], params[name])
            params[name] = optax.apply_updates(params[name], updates)
        average = {"generator": params["generator"]}
        ema = optax.incremental_update(average, state.ema, 1 - DECAY)
        state = state.replace(step=state.step + 1, params=params, opt_state=opt_state, ema=ema)
        return state, training.step_sums(sums.pop("generator"), grads, batch, **sums)

    def evaluate(state: Any, batch: Any, carry: Any) -> training.Evaluated:
        sums = losses({**state.params, **state.ema}, state.key, batch)
        return training.Evaluated(sums | {"weight": jnp.sum(batch["weight"])})

    return training.Program(
        init=init,
        train_step=train_step,
        predict=lambda state, batch: fakes(state.ema, state.key, batch),
        evaluate=evaluate,
        summarize=lambda sums: {"discriminator": sums["discriminator"] / sums["weight"]},
        metrics=("discriminator",),
        best_metric="discriminator",
        higher_is_better=True,
    )


EXPERIMENT = training.Experiment(
    dataset=dataset({"train": ring(0, 128), "validation": ring(1, 21)}),
    task=None,
    program=gan,
    optimizer=training.OptimizerConfig(),
    training=training.TrainingConfig(duration="9 steps", batch_size=32, log_every="3 steps"),
)


def test_only_the_generator_is_averaged(tmp_path, monkeypatch):
    result = check_resume(EXPERIMENT, tmp_path, monkeypatch, stop=4)
    assert result.variables["params"].keys() == {"generator", "discriminator"}
    assert result.outputs("validation").shape == (21, 2)
    assert all(np.isfinite(row["discriminator"]) for row in result.rows)


def test_devices_agree(tmp_path):
    check_devices(EXPERIMENT, tmp_path)
