"""Optimizers and learning-rate schedules by name, built from optax."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from cnn_jax.errors import ConfigError, check_range
from cnn_jax.training.duration import check_durations
from cnn_jax.training.plan import Plan

Schedule = Callable[[Any], Any]


@dataclass(frozen=True)
class OptimizerConfig:
    """Optimizer, learning rate and regularization."""

    name: Literal["sgd", "adam", "adamw", "lamb", "muon"] = "sgd"
    """Update rule, from optax."""
    learning_rate: float = 0.1
    """Peak learning rate."""
    momentum: float = 0.9
    """Momentum of sgd and muon; beta_1 of the other rules."""
    beta2: float = 0.999
    """beta_2 of adam, adamw and lamb, the decay of the squared gradients' average."""
    nesterov: bool = True
    """Use Nesterov momentum in sgd and muon."""
    schedule: Literal["constant", "step", "cosine", "linear", "poly", "one_cycle"] = "constant"
    """Shape of the learning rate over the run."""
    warmup: str = "0 steps"
    """Duration of a linear warm-up from warmup_factor times the peak; ignored by one_cycle."""
    warmup_factor: float = 0.0
    """Learning rate at the start of the warm-up, as a fraction of the peak."""
    milestones: tuple[str, ...] = ()
    """Durations from the start of the run after which the step schedule decays."""
    decay_factor: float = 0.1
    """Factor of the step schedule at each milestone."""
    poly_power: float = 0.9
    """Exponent of the poly schedule, peak * (1 - step / steps)**power, as in DeepLab."""
    body_rate: float = 1.0
    """Factor of the rate of the parameters below `body` or `backbone`, such as a pretrained one."""
    l2: float = 0.0
    """L2 regularization: l2 / 2 * sum(w**2) is added to the loss (PyTorch SGD's weight_decay)."""
    weight_decay: float = 0.0
    """Decoupled decay: each update subtracts rate * weight_decay * w (Loshchilov, Hutter 2019)."""
    decay_all: bool = False
    """Apply l2 and weight_decay also to biases and to the scales of normalization layers."""
    clip_norm: float = 0.0
    """Largest global norm of the gradient, including the L2 term; 0 disables clipping."""

    def __post_init__(self) -> None:
        check_range(self, 0, learning_rate=self.learning_rate, l2=self.l2)
        check_range(self, 0, weight_decay=self.weight_decay, clip_norm=self.clip_norm)
        check_range(self, 0, 1, warmup_factor=self.warmup_factor, decay_factor=self.decay_factor)
        check_range(self, 0, 1, momentum=self.momentum, beta2=self.beta2)
        check_durations(self, warmup=self.warmup, milestones=self.milestones)
        check_range(self, 0, poly_power=self.poly_power, body_rate=self.body_rate)


def make_updates(
    config: OptimizerConfig | optax.GradientTransformation, plan: Plan, updates: int = 1
) -> tuple[optax.GradientTransformation, Schedule | None, Callable[[PyTree], Array] | None]:
    """The update rule, its learning rate by step where it is known, and a term of the loss.

    Args:
        config: as the experiment has it; a rule of optax counts its updates itself.
        plan: of the run.
        updates: how many there are in a step, all with the step's rate.
    """
    if not isinstance(config, OptimizerConfig):
        return config, None, None
    schedule = make_schedule(config, plan.total, plan.steps)
    rule = make_optimizer(config, lambda count: schedule(count // updates))
    return rule, schedule, l2_penalty(config)


def make_schedule(
    config: OptimizerConfig, total_steps: int, to_steps: Callable[[str], int]
) -> Schedule:
    """The learning rate as a function of the step, before any decrease on plateau.

    Args:
        config: shape and peak of the schedule.
        total_steps: length of the run in steps.
        to_steps: converts a duration to steps.

    Raises:
        ConfigError: the parts of the schedule do not fit together.
    """
    peak, total = config.learning_rate, max(total_steps, 1)
    if config.milestones and config.schedule != "step":
        raise ConfigError(
            f"milestones belong to the step schedule, but schedule is {config.schedule!r}"
        )
    if config.schedule == "one_cycle":
        # PyTorch's OneCycleLR, with peak and end one step later: cosine up over 30%, then down.
        return optax.cosine_onecycle_schedule(
            total, peak, pct_start=0.3, div_factor=25.0, final_div_factor=1e4
        )
    warmup = to_steps(config.warmup) if total_steps else 0
    if warmup >= total and warmup:
        raise ConfigError(f"a warm-up of {warmup} steps does not fit into {total} steps")
    shape = _shape(config, total - warmup, warmup, to_steps)
    if not warmup:
        return shape
    ramp = optax.linear_schedule(peak * config.warmup_factor, peak, warmup)
    return optax.join_schedules([ramp, shape], [warmup])


def _shape(
    config: OptimizerConfig, steps: int, offset: int, to_steps: Callable[[str], int]
) -> Schedule:
    """The schedule after the warm-up. Its step 0 is step ``offset`` of the run."""
    peak = config.learning_rate
    if config.schedule == "step":
        if not config.milestones:
            raise ConfigError("the step schedule needs milestones, such as '32000 steps'")
        # A milestone is the first step at the lower rate.
        drops = {to_steps(m) - offset: config.decay_factor for m in config.milestones}
        return optax.piecewise_constant_schedule(peak, drops)
    if config.schedule == "cosine":
        return optax.cosine_decay_schedule(peak, steps)
    if config.schedule == "linear":
        return optax.linear_schedule(peak, 0.0, steps)
    if config.schedule == "poly":
        return optax.polynomial_schedule(peak, 0.0, config.poly_power, steps)
    return optax.constant_schedule(peak)


def make_optimizer(config: OptimizerConfig, schedule: Schedule) -> optax.GradientTransformation:
    """The update rule. The L2 term is part of the loss instead: see `l2_penalty`."""
    mask = None if config.decay_all else decay_mask
    decay, momentum = config.weight_decay, config.momentum
    betas = {"b1": momentum, "b2": config.beta2}
    if config.name == "sgd":
        rule = optax.sgd(schedule, momentum=momentum or None, nesterov=config.nesterov)
    elif config.name == "adam":
        rule = optax.adam(schedule, **betas)
    elif config.name == "adamw":
        rule = optax.adamw(schedule, **betas, weight_decay=decay, mask=mask)
    elif config.name == "lamb":
        rule = optax.lamb(schedule, **betas, weight_decay=decay, mask=mask)
    else:
        rule = optax.contrib.muon(
            schedule,
            beta=momentum,
            nesterov=config.nesterov,
            weight_decay=decay,
            adam_weight_decay=decay,
            weight_decay_mask=mask,
            muon_weight_dimension_numbers=_muon_dimensions,
        )
    steps = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    steps.append(rule)
    if decay and config.name in ("sgd", "adam"):
        # After the rule, so that decay does not enter the momentum.
        steps.append(optax.add_decayed_weights(lambda step: -decay * schedule(step), mask))
    if config.body_rate != 1:
        steps.append(optax.masked(optax.scale(config.body_rate), _of_body))
    return optax.chain(*steps) if len(steps) > 1 else rule


def decay_mask(params: PyTree) -> PyTree:
    """True for kernels, False for biases and the scales of normalization layers."""
    return jax.tree.map(lambda p: p.ndim > 1, params)


def _of_body(params: PyTree) -> dict[str, bool]:
    """Whether the parameters below each name are those of the body."""
    mask = {name: name in ("body", "backbone") for name in params}
    if not any(mask.values()):
        raise ConfigError(
            "body_rate is for parameters below `body` or `backbone`, and this model has "
            f"{', '.join(mask)}; set it to 1"
        )
    return mask


def l2_penalty(config: OptimizerConfig) -> Callable[[PyTree], Array] | None:
    """The L2 term of the loss, ``l2 / 2 * sum(w**2)``; None if ``config.l2`` is 0."""
    if not config.l2:
        return None

    def penalty(params: PyTree) -> Array:
        leaves = [p for p in jax.tree.leaves(params) if config.decay_all or p.ndim > 1]
        return 0.5 * config.l2 * sum((jnp.sum(jnp.square(p)) for p in leaves), jnp.zeros(()))

    return penalty


def _muon_dimensions(params: PyTree) -> PyTree:
    """Muon treats kernels as [inputs, outputs] matrices; the head and vectors use Adam."""

    def numbers(path: tuple, leaf: Array) -> Any:
        names = {getattr(key, "key", None) for key in path}
        if leaf.ndim < 2 or "head" in names:
            return None
        return optax.contrib.MuonDimensionNumbers(
            reduction_axis=tuple(range(leaf.ndim - 1)), output_axis=leaf.ndim - 1
        )

    return jax.tree_util.tree_map_with_path(numbers, params)
