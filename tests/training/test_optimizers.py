"""Optimizers and schedules against PyTorch's, written out by hand or live."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax.errors import ConfigError
from cnn_jax.training import (
    OptimizerConfig,
    Plan,
    decay_mask,
    l2_penalty,
    make_optimizer,
    make_schedule,
    to_steps,
)
from cnn_jax.training.optimizers import make_updates
from tests.tolerance import assert_close

NAMES = ["sgd", "adam", "adamw", "lamb", "muon"]


def steps(duration: str) -> int:
    return to_steps(duration, batch_size=10, steps_per_epoch=100)


def rates(config: OptimizerConfig, total: int, at: list[int]) -> list[float]:
    schedule = make_schedule(config, total, steps)
    return [float(schedule(step)) for step in at]


def start() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {"kernel": jnp.asarray(rng.normal(size=(4, 3))), "bias": jnp.asarray(rng.normal(size=3))}


def gradient_of(weights: Any, step: int) -> Any:
    """Of a quadratic around a point that moves, so that momentum has something to do."""
    return jax.tree.map(lambda w: 0.7 * w - 0.3 * np.cos(step), weights)


def run(config: OptimizerConfig, count: int = 12) -> Any:
    """The parameters after some steps on the quadratic plus the L2 term."""
    rule, penalty = make_optimizer(config, make_schedule(config, count, steps)), l2_penalty(config)
    weights = start()
    state = rule.init(weights)
    for step in range(count):
        gradient = gradient_of(weights, step)
        if penalty:
            gradient = jax.tree.map(jnp.add, gradient, jax.grad(penalty)(weights))
        updates, state = rule.update(gradient, state, weights)
        weights = optax.apply_updates(weights, updates)
    return weights


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_lowers_a_quadratic(name: Any) -> None:
    rule = make_optimizer(OptimizerConfig(name=name), lambda step: 0.05)
    weights = {"body": start()}
    state = rule.init(weights)

    def loss(weights: Any) -> Any:
        return sum(jnp.sum(jnp.square(w)) for w in jax.tree.leaves(weights))

    losses = [float(loss(weights))]
    for _ in range(10):
        updates, state = rule.update(jax.grad(loss)(weights), state, weights)
        weights = optax.apply_updates(weights, updates)
        losses.append(float(loss(weights)))
    assert losses[1] < losses[0]
    assert losses[-1] < 0.7 * losses[0]


SGD = OptimizerConfig(learning_rate=0.1, momentum=0.9, nesterov=True, l2=0.05, decay_all=True)


@pytest.mark.parametrize("nesterov", [True, False])
def test_sgd_is_pytorchs_formula(nesterov: bool) -> None:
    config = OptimizerConfig(
        learning_rate=0.1, momentum=0.9, nesterov=nesterov, l2=0.05, decay_all=True
    )
    with jax.enable_x64(True):
        weights = {name: np.asarray(w) for name, w in start().items()}
        velocity = {name: np.zeros_like(w) for name, w in weights.items()}
        for step in range(12):
            for name, gradient in gradient_of(weights, step).items():
                gradient = np.asarray(gradient) + 0.05 * weights[name]
                velocity[name] = 0.9 * velocity[name] + gradient
                update = gradient + 0.9 * velocity[name] if nesterov else velocity[name]
                weights[name] = weights[name] - 0.1 * update
        assert_close(run(config), weights)


def in_torch(make: Any, count: int = 12) -> Any:
    torch = pytest.importorskip("torch")
    weights = {name: torch.nn.Parameter(torch.tensor(np.asarray(w))) for name, w in start().items()}
    rule = make(torch, weights)
    for step in range(count):
        for name, gradient in gradient_of(
            {name: w.detach().numpy() for name, w in weights.items()}, step
        ).items():
            weights[name].grad = torch.tensor(np.asarray(gradient))
        rule.step()
    return {name: w.detach().numpy() for name, w in weights.items()}


def test_optimizers_are_pytorchs() -> None:
    with jax.enable_x64(True):
        expected = in_torch(
            lambda torch, w: torch.optim.SGD(
                w.values(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.05
            )
        )
        assert_close(run(SGD), expected)
        expected = in_torch(lambda torch, w: torch.optim.Adam(w.values(), lr=0.01))
        assert_close(run(OptimizerConfig(name="adam", learning_rate=0.01)), expected)

        def adamw(torch: Any, weights: Any) -> Any:
            groups = [
                {"params": [weights["kernel"]], "weight_decay": 0.3},
                {"params": [weights["bias"]], "weight_decay": 0.0},
            ]
            return torch.optim.AdamW(groups, lr=0.01)

        expected = in_torch(adamw)
        for name in ("adamw", "adam"):
            config = OptimizerConfig(name=name, learning_rate=0.01, weight_decay=0.3)  # type: ignore[arg-type]
            assert_close(run(config), expected)


def test_decoupled_decay_of_sgd() -> None:
    config = OptimizerConfig(learning_rate=0.1, momentum=0.0, nesterov=False, weight_decay=0.2)
    with jax.enable_x64(True):
        before, after = start(), run(config, 1)
        gradient = gradient_of(before, 0)
        kernel = before["kernel"] - 0.1 * gradient["kernel"] - 0.1 * 0.2 * before["kernel"]
        assert_close(after, {"kernel": kernel, "bias": before["bias"] - 0.1 * gradient["bias"]})


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_decoupled_decay_stays_out_of_the_momentum(name: Any) -> None:
    config = OptimizerConfig(
        name=name, learning_rate=0.1, schedule="cosine", weight_decay=0.05, nesterov=True
    )
    schedule = make_schedule(config, 20, steps)
    rule = make_optimizer(config, schedule)
    plain = make_optimizer(replace(config, weight_decay=0.0), schedule)

    @jax.jit
    def by_hand(gradient: Any, state: Any, weights: Any, step: int) -> Any:
        updates, state = plain.update(gradient, state, weights)
        decay = -schedule(step) * (0.05 * weights["kernel"])
        return {**updates, "kernel": updates["kernel"] + decay}, state

    weights = start()
    state, plain_state = rule.init(weights), plain.init(weights)
    for step in range(8):
        gradient = gradient_of(weights, step)
        updates, state = jax.jit(rule.update)(gradient, state, weights)
        expected, plain_state = by_hand(gradient, plain_state, weights, step)
        jax.tree.map(np.testing.assert_array_equal, updates, expected)
        weights = optax.apply_updates(weights, updates)


def test_biases_and_norms_are_left_out_unless_asked_for() -> None:
    weights = start()
    assert decay_mask(weights) == {"kernel": True, "bias": False}
    kernel, bias = (float(jnp.sum(jnp.square(weights[name]))) for name in ("kernel", "bias"))
    some, every = (
        l2_penalty(OptimizerConfig(l2=0.1, decay_all=decay_all)) for decay_all in (False, True)
    )
    assert some is not None
    assert every is not None
    assert float(some(weights)) == pytest.approx(0.05 * kernel)
    assert float(every(weights)) == pytest.approx(0.05 * (kernel + bias))
    assert l2_penalty(OptimizerConfig()) is None


def test_the_gradient_is_clipped_by_its_global_norm() -> None:
    config = OptimizerConfig(learning_rate=1.0, momentum=0.0, nesterov=False, clip_norm=2.0)
    rule = make_optimizer(config, lambda step: 1.0)
    gradient = {"a": jnp.full((3,), 4.0), "b": jnp.full((1,), 4.0)}  # norm 8
    updates, _ = rule.update(gradient, rule.init(gradient), gradient)
    assert_close(updates, {"a": np.full(3, -1.0), "b": np.full(1, -1.0)}, rtol=1e-6)
    small = jax.tree.map(lambda g: g / 8, gradient)
    updates, _ = rule.update(small, rule.init(small), small)
    assert_close(updates, {"a": np.full(3, -0.5), "b": np.full(1, -0.5)}, rtol=1e-6)


def test_one_cycle_is_pytorchs_to_a_step() -> None:
    config = OptimizerConfig(learning_rate=0.4, schedule="one_cycle")
    at = [0, 1, 10, 29, 30, 31, 50, 98]
    assert rates(config, 100, [0]) == pytest.approx([0.4 / 25])
    torch = pytest.importorskip("torch")
    sgd = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4)
    one_cycle = torch.optim.lr_scheduler.OneCycleLR(sgd, 0.4, total_steps=100)
    expected = []
    for _ in range(99):
        expected.append(one_cycle.get_last_lr()[0])
        sgd.step()
        one_cycle.step()
    # PyTorch reaches the top one step earlier and ends on step 99: a step apart.
    difference = [abs(a - expected[i]) for a, i in zip(rates(config, 100, at), at, strict=True)]
    assert max(difference) < 0.02


def test_milestones_are_the_first_steps_at_the_lower_rate() -> None:
    config = OptimizerConfig(
        learning_rate=1.0, schedule="step", milestones=("2 epochs", "300 steps"), decay_factor=0.1
    )
    at = [0, 199, 200, 201, 299, 300, 399]
    assert rates(config, 400, at) == pytest.approx([1, 1, 0.1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [2.0, 2.0, 2.0, 2.0]),
        ("linear", [2.0, 1.5, 1.0, 0.02]),
        ("cosine", [2.0, 1 + np.cos(np.pi / 4), 1.0, 1 + np.cos(np.pi * 0.99)]),
    ],
)
def test_schedules(schedule: Any, expected: list[float]) -> None:
    config = OptimizerConfig(learning_rate=2.0, schedule=schedule)
    assert rates(config, 100, [0, 25, 50, 99]) == pytest.approx(expected, rel=1e-4)


def test_warm_up_comes_before_the_schedule() -> None:
    config = OptimizerConfig(
        learning_rate=1.0, schedule="linear", warmup="20 steps", warmup_factor=0.1
    )
    assert rates(config, 120, [0, 10, 20, 70, 119]) == pytest.approx([0.1, 0.55, 1.0, 0.5, 0.01])
    milestone = OptimizerConfig(
        learning_rate=1.0, schedule="step", warmup="20 steps", milestones=("50 steps",)
    )
    # Counted from the start of the run, not from the end of the warm-up.
    assert rates(milestone, 100, [49, 50]) == pytest.approx([1.0, 0.1])


def test_schedules_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="a warm-up of 100 steps does not fit into 50 steps"):
        make_schedule(OptimizerConfig(warmup="1 epoch"), 50, steps)
    with pytest.raises(ConfigError, match="needs milestones, such as '32000 steps'"):
        make_schedule(OptimizerConfig(schedule="step"), 50, steps)
    with pytest.raises(ConfigError, match="milestones belong to the step schedule, .* 'cosine'"):
        make_schedule(OptimizerConfig(schedule="cosine", milestones=("9 steps",)), 50, steps)


def test_poly_schedule_is_pytorch_s() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    rule = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=0.2)
    theirs = torch.optim.lr_scheduler.PolynomialLR(rule, total_iters=20, power=0.9)
    expected = []
    for _ in range(21):
        expected.append(theirs.get_last_lr()[0])
        rule.step()
        theirs.step()
    config = OptimizerConfig(learning_rate=0.2, schedule="poly")
    assert rates(config, 20, list(range(21))) == pytest.approx(expected, rel=1e-5, abs=1e-8)
    straight = OptimizerConfig(learning_rate=0.2, schedule="poly", poly_power=1, warmup="2 steps")
    assert rates(straight, 22, [2, 12, 22]) == pytest.approx([0.2, 0.1, 0])


@pytest.mark.parametrize("body", ["body", "backbone"])
def test_the_body_has_a_rate_of_its_own(body: str) -> None:
    """As with PyTorch's groups of parameters, also its decay."""
    config = OptimizerConfig("sgd", 0.1, nesterov=False, weight_decay=0.01, body_rate=0.25)
    with jax.enable_x64(True):
        weights = {body: {"a": start()}, "head": start()}
        rule = make_optimizer(config, make_schedule(config, 5, steps))
        state = rule.init(weights)
        for step in range(5):
            updates, state = rule.update(gradient_of(weights, step), state, weights)
            weights = optax.apply_updates(weights, updates)
    expected = {}
    for name, rate in ((body, 0.025), ("head", 0.1)):
        kernel = np.asarray(start()["kernel"], np.float64)
        buffer = np.zeros_like(kernel)
        for step in range(5):
            buffer = 0.9 * buffer + 0.7 * kernel - 0.3 * np.cos(step)
            kernel = kernel - rate * buffer - rate * 0.01 * kernel
        expected[name] = kernel
    actual = {body: weights[body]["a"]["kernel"], "head": weights["head"]["kernel"]}
    assert_close(actual, expected, rtol=1e-6)


def test_a_rate_of_the_body_needs_a_body() -> None:
    config = OptimizerConfig(body_rate=0.1)
    rule = make_optimizer(config, make_schedule(config, 5, steps))
    with pytest.raises(ConfigError, match="this model has kernel, bias; set it to 1"):
        rule.init(start())


def test_several_updates_of_a_step_have_its_rate():
    config = OptimizerConfig(learning_rate=1.0, momentum=0.0, schedule="linear")
    rule, schedule, _ = make_updates(config, Plan(4, 1, 1, 1), updates=2)
    state, rates = rule.init(jnp.ones(())), []
    for _ in range(8):
        update, state = rule.update(jnp.ones(()), state)
        rates.append(-float(update))
    assert rates == [1, 1, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25]
    assert [float(schedule(step)) for step in range(4)] == [1, 0.75, 0.5, 0.25]


def test_beta2_reaches_the_rules():
    """After one step of Adam its average of squares is (1 - beta_2) g²."""
    for name in ("adam", "adamw", "lamb"):
        config = OptimizerConfig(name=name, beta2=0.75)
        rule = make_optimizer(config, optax.constant_schedule(0.1))
        params = {"kernel": jnp.ones((2, 2))}
        _, state = rule.update({"kernel": 2 * jnp.ones((2, 2))}, rule.init(params), params)
        squares = optax.tree.get(state, "nu")["kernel"]
        np.testing.assert_allclose(squares, 1.0)
