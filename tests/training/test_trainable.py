"""Parameters that are held keep their bits, whatever the optimizer does."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.tasks import Classification
from cnn_jax.training import (
    Experiment,
    OptimizerConfig,
    TrainingConfig,
    init_state,
    l2_penalty,
    make_optimizer,
    make_parallel,
    make_train_step,
    prepare_run,
    train,
)
from cnn_jax.training.trainable import join_params, split_params
from tests.tolerance import assert_close
from tests.training.small import ConvNet, blobs, dataset, one_device, wide

HEAD = "Linear_0"
DECAYING = {"l2": 0.1, "weight_decay": 0.1, "decay_all": True, "learning_rate": 0.05}
OPTIMIZERS = [
    OptimizerConfig(name="sgd", **DECAYING),
    OptimizerConfig(name="adamw", **DECAYING, clip_norm=0.1),
    OptimizerConfig(name="lamb", **DECAYING),
    OptimizerConfig(name="muon", **DECAYING),
]


def only_head(path: str) -> bool:
    return path.startswith(HEAD)


def with_negative_zero(fresh: Any, earlier: Any) -> Any:
    """Adding an update of zero would change its bits."""
    conv = fresh["params"]["Conv_0"]
    held = conv | {"kernel": conv["kernel"].at[0, 0, 0, 0].set(-0.0)}
    return fresh | {"params": fresh["params"] | {"Conv_0": held}}


def experiment(optimizer: OptimizerConfig = OPTIMIZERS[0], **training: Any) -> Experiment:
    options = {"duration": "6 steps", "batch_size": 32, "save_every": "3 steps"} | training
    return Experiment(
        dataset=dataset(),
        task=Classification(ConvNet(norm="frozen")),
        optimizer=optimizer,
        training=TrainingConfig(**options),
        initialize=with_negative_zero,
        trainable=only_head,
    )


def fresh_state(one: Experiment) -> Any:
    _, runner = prepare_run(one, one_device(), seed=0)
    return runner.init(lambda fresh: one.initialize(fresh, {}))


def bits(tree: Any) -> Any:
    return jax.tree.map(lambda a: np.asarray(a).tobytes(), tree)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda one: one.name)
def test_what_is_held_keeps_its_bits(optimizer, tmp_path):
    one = experiment(optimizer, ema_decay=0.9, layer_gradients=True)
    before = fresh_state(one)
    result = train(one, tmp_path, one_device(), seed=0, title="")
    for name in ("Conv_0", "BatchNorm_0"):
        assert bits(result.variables["params"][name]) == bits(before.params[name])
    assert bits(result.variables["batch_stats"]) == bits(before.model_state["batch_stats"])
    moved = result.variables["params"][HEAD]["kernel"] - before.params[HEAD]["kernel"]
    assert np.abs(moved).max() > 1e-4
    assert result.summary["trained_parameters"] == 4 * 4 + 4
    assert result.summary["parameters"] == 4 * 4 + 4 + 9 * 4 + 2 * 4
    gradients = [name for name in result.rows[0] if name.startswith("grad_norm/")]
    assert gradients == [f"grad_norm/{HEAD}"]


def test_the_optimizer_keeps_nothing_of_what_is_held():
    state = fresh_state(experiment())
    assert sorted(leaf.size for leaf in jax.tree.leaves(state.opt_state) if leaf.size > 1) == [
        4,
        16,
    ]


def test_what_trains_makes_the_step_that_it_makes_with_all():
    """The gradient of the head is the same, whether or not others are taken."""
    optimizer = OptimizerConfig(learning_rate=0.5, l2=0.1, decay_all=True)
    task = Classification(ConvNet(norm="frozen"))
    arrays = blobs(0, 8).arrays
    batch = {
        "image": jnp.asarray(arrays["image"] / 255.0),
        "label": jnp.asarray(arrays["label"]),
        "slot": jnp.arange(8),
        "weight": jnp.ones(8),
    }
    with jax.enable_x64(True):
        rule = make_optimizer(optimizer, lambda step: optimizer.learning_rate)
        params, model_state = map(wide, task.init(jax.random.key(0), dataset().spec))
        after = {}
        for trainable in (None, only_head):
            step = make_train_step(
                task.loss_fn,
                rule,
                preprocess=lambda batch, key, train: batch,
                penalty=l2_penalty(optimizer),
                trainable=trainable,
            )
            opt_state = rule.init(split_params(params, trainable)[0])
            state = init_state(params, model_state, opt_state, jax.random.key(1))
            after[trainable] = jax.jit(step)(state, batch)[0].params
        assert_close(after[only_head][HEAD], after[None][HEAD])
    assert bits(after[only_head]["Conv_0"]) == bits(params["Conv_0"])
    assert bits(after[None]["Conv_0"]) != bits(params["Conv_0"])


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_devices_agree(mode, tmp_path):
    runs = [
        train(experiment(), tmp_path / name, parallel, seed=0, title="")
        for name, parallel in (("one", one_device()), ("all", make_parallel(mode)))
    ]
    for a, b in zip(*(jax.tree.leaves(run.variables) for run in runs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert bits(runs[0].variables["params"]["Conv_0"]) == bits(
        runs[1].variables["params"]["Conv_0"]
    )


def test_a_run_that_is_cut_goes_on_to_the_bit(tmp_path):
    whole = train(experiment(), tmp_path / "whole", one_device(), seed=0, title="")
    train(experiment(duration="3 steps"), tmp_path / "cut", one_device(), seed=0, title="")
    resumed = train(experiment(), tmp_path / "cut", one_device(), seed=0, title="")
    assert bits(resumed.variables) == bits(whole.variables)


def test_nothing_to_train_is_an_error():
    one = replace(experiment(), trainable=lambda path: path.startswith("body"))
    with pytest.raises(
        ValueError, match=r"no parameter is trained: .*all 5 paths, such as .*kernel"
    ):
        fresh_state(one)


def test_parts_are_put_together_again():
    params = {"body": {"a": {"kernel": jnp.ones(3)}, "b": jnp.zeros(2)}, "head": {"bias": 1.0}}
    trained, held = split_params(params, lambda path: path in ("body/b", "head/bias"))
    assert trained.keys() == {"body", "head"} and held == {"body": {"a": params["body"]["a"]}}
    assert jax.tree.structure(join_params(trained, held)) == jax.tree.structure(params)
    assert split_params(params, None) == (params, {})
    assert join_params(params, {}) is params
