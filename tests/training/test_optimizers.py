"""Optimizers and schedules by name, against formulas and PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.errors import ConfigError
from cnn_jax.training import (
    OptimizerConfig,
    decay_mask,
    l2_penalty,
    make_optimizer,
    make_schedule,
    to_steps,
)
from tests.tolerance import assert_close

START = {"kernel": np.array([[1.0, -2.0], [3.0, 0.5]]), "bias": np.array([0.3, -0.7])}
TARGET = {"kernel": np.array([[0.2, 0.1], [-1.0, 2.0]]), "bias": np.array([1.0, 1.0])}


def steps(duration: str) -> int:
    return to_steps(duration, batch_size=10, steps_per_epoch=10)


def schedule(total: int = 100, **settings) -> list[float]:
    made = make_schedule(OptimizerConfig(**settings), total, steps)
    return [float(made(step)) for step in range(total)]


def descend(config: OptimizerConfig, count: int = 5) -> dict:
    """Parameters after steps on half the squared distance from TARGET, plus the L2 term."""
    optimizer = make_optimizer(config, make_schedule(config, 100, steps))
    penalty = l2_penalty(config)

    def objective(params: dict) -> jax.Array:
        distances = jax.tree.map(lambda p, t: 0.5 * jnp.sum(jnp.square(p - t)), params, TARGET)
        return sum(jax.tree.leaves(distances)) + (penalty(params) if penalty else 0.0)

    params = jax.tree.map(jnp.asarray, START)
    state = optimizer.init(params)
    for _ in range(count):
        updates, state = optimizer.update(jax.grad(objective)(params), state, params)
        params = jax.tree.map(jnp.add, params, updates)
    return params


def distance(params: dict) -> float:
    return sum(float(np.sum(np.square(params[name] - TARGET[name]))) for name in TARGET)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "lamb", "muon"])
def test_every_optimizer_descends(name: str) -> None:
    config = OptimizerConfig(name=name, learning_rate=0.05, momentum=0.9)
    assert distance(descend(config, 20)) < distance(START)


TORCH = {
    "sgd with Nesterov's momentum and the L2 term": (
        OptimizerConfig(learning_rate=0.1, l2=0.05, decay_all=True),
        lambda torch, p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.05),
    ),
    "sgd with plain momentum": (
        OptimizerConfig(learning_rate=0.1, nesterov=False),
        lambda torch, p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    ),
    "adam": (
        OptimizerConfig(name="adam", learning_rate=0.1),
        lambda torch, p: torch.optim.Adam(p, lr=0.1),
    ),
    "adamw": (
        OptimizerConfig(name="adamw", learning_rate=0.1, weight_decay=0.3, decay_all=True),
        lambda torch, p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.3),
    ),
    "adam with decoupled decay": (
        OptimizerConfig(name="adam", learning_rate=0.1, weight_decay=0.3, decay_all=True),
        lambda torch, p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.3),
    ),
}


@pytest.mark.parametrize("case", TORCH)
def test_steps_equal_pytorch(case: str) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch where it is installed")
    config, make = TORCH[case]
    params = {name: torch.tensor(value, requires_grad=True) for name, value in START.items()}
    optimizer = make(torch, list(params.values()))
    for _ in range(5):
        optimizer.zero_grad()
        sum(0.5 * ((params[k] - torch.tensor(TARGET[k])) ** 2).sum() for k in params).backward()
        optimizer.step()
    with jax.enable_x64(True):
        theirs = {name: value.detach().numpy() for name, value in params.items()}
        # Adam adds its eps to a root that the two compute in another order.
        assert_close(descend(config), theirs, rtol=1e-6)


def test_nesterov_momentum_and_l2_by_the_formula() -> None:
    with jax.enable_x64(True):
        config = OptimizerConfig(learning_rate=0.1, l2=0.05, decay_all=True)
        expected, velocity = dict(START), {name: 0.0 for name in START}
        for _ in range(3):
            for name, value in expected.items():
                gradient = value - TARGET[name] + 0.05 * value
                velocity[name] = 0.9 * velocity[name] + gradient
                expected[name] = value - 0.1 * (gradient + 0.9 * velocity[name])
        assert_close(descend(config, 3), expected)


def test_decoupled_decay_takes_rate_times_decay_of_the_weight() -> None:
    with jax.enable_x64(True):
        without = OptimizerConfig(learning_rate=0.1, momentum=0.0, nesterov=False)
        decayed = OptimizerConfig(learning_rate=0.1, momentum=0.0, nesterov=False, weight_decay=0.5)
        difference = jax.tree.map(jnp.subtract, descend(without, 1), descend(decayed, 1))
        assert_close(difference, {"kernel": 0.05 * START["kernel"], "bias": 0 * START["bias"]})


def test_decay_leaves_biases_and_norms_out_unless_asked() -> None:
    assert decay_mask(START) == {"kernel": True, "bias": False}
    params = jax.tree.map(jnp.asarray, START)
    kernels = l2_penalty(OptimizerConfig(l2=2.0))
    everything = l2_penalty(OptimizerConfig(l2=2.0, decay_all=True))
    assert kernels is not None and everything is not None
    assert float(kernels(params)) == pytest.approx(14.25)
    assert float(everything(params)) == pytest.approx(14.25 + 0.58)
    assert l2_penalty(OptimizerConfig()) is None


def test_clipping_bounds_the_norm_of_the_gradient() -> None:
    config = OptimizerConfig(learning_rate=1.0, momentum=0.0, nesterov=False, clip_norm=0.5)
    moved = jax.tree.map(lambda after, before: after - before, descend(config, 1), START)
    norm = np.sqrt(sum(float(np.sum(np.square(m))) for m in jax.tree.leaves(moved)))
    assert norm == pytest.approx(0.5, rel=1e-5)


def test_schedules() -> None:
    assert schedule(learning_rate=0.2) == pytest.approx([0.2] * 100)
    done = np.arange(100) / 100
    cosine, linear = 0.1 * (1 + np.cos(np.pi * done)) / 2, 0.1 * (1 - done)
    assert schedule(schedule="cosine") == pytest.approx(list(cosine), abs=1e-7)
    assert schedule(schedule="linear") == pytest.approx(list(linear), abs=1e-7)
    stepped = schedule(schedule="step", milestones=("32 steps", "5 epochs"))
    assert stepped == pytest.approx([0.1] * 32 + [0.01] * 18 + [0.001] * 50)


def test_warm_up_comes_before_the_shape_and_does_not_move_milestones() -> None:
    rates = schedule(schedule="step", milestones=("32 steps",), warmup="1 epoch", warmup_factor=0.1)
    ramp = 0.01 + 0.09 * np.arange(10) / 10
    assert rates == pytest.approx([*ramp, *[0.1] * 22, *[0.01] * 68])


def test_one_cycle_is_pytorchs() -> None:
    rates = schedule(schedule="one_cycle", learning_rate=0.4)
    assert rates[0] == pytest.approx(0.4 / 25)
    assert max(rates) == pytest.approx(0.4)
    assert int(np.argmax(rates)) in (29, 30)
    assert rates[-1] < 0.4 / 25
    assert all(np.diff(rates[:30]) > 0) and all(np.diff(rates[31:]) < 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "step"}, "needs milestones"),
        ({"milestones": ("3 steps",)}, "milestones are for the step schedule"),
        ({"warmup": "100 steps"}, "a warm-up of 100 steps does not fit into 100 steps"),
        ({"warmup": "soon"}, "'soon' is not a duration"),
    ],
)
def test_parts_that_do_not_fit(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        schedule(**settings)
