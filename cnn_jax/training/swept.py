"""Several learning rates as one program: a transformation of the program of one rate.

Every rate has a lane: its own parameters, statistics, optimizer state and counters, stacked along a
leading axis under `jax.vmap`. All lanes begin alike, see the same examples and draw the same random
numbers. The program that is transformed has a peak rate of 1. The rate of lane k at a step is

    rates[k] * shape(step) * plateau[k]

because the updates of all our optimizers, decoupled weight decay among them, are proportional to
the rate. The loop, the logs and the checkpoints treat the result like any other program.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, no_type_check

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PyTree

from cnn_jax.errors import ConfigError
from cnn_jax.training.control import Control, ControlConfig, adapt
from cnn_jax.training.mapped import sum_over_devices
from cnn_jax.training.program import Batch, Evaluated, Metrics, Program, Sums
from cnn_jax.training.state import TrainState

MEMORY_FACTOR = 3
"""States that a step needs room for: itself, its gradients and updates, the copy being saved."""
OF_LANES = ("params", "model_state", "opt_state", "ema")
"""Parts of the state of which every lane has its own."""


# JAX also fills a pytree's fields with shapes, shardings and batched values.
@no_type_check
class LaneControl(flax.struct.PyTreeNode):
    """Counters of all lanes; a lane that diverged or stopped early keeps its state."""

    lanes: Control
    diverged: Bool[Array, " rates"]
    steps: Int[Array, " rates"]
    """Updates made."""
    stopped: Bool[Array, ""]
    """Whether all lanes have ended."""


def swept(program: Program, rates: Sequence[float]) -> Program:
    """The program that trains with all rates at once.

    Its metrics are those of the lane that is best at the time, under their own names, and those of
    every lane, as ``accuracy/0.001``.

    Raises:
        ConfigError: a program with carried state or metrics that are no sums; lanes that do not
            fit into a device's memory.
    """
    if program.measure is not None or program.init_carry(1) is not None:
        raise ConfigError(
            "several learning rates at once need metrics that are sums and no carried state; train "
            "them one after another with --optimizer.learning-rate"
        )
    names, factors = [f"{rate:g}" for rate in rates], jnp.asarray(rates)

    def init(key: Any, change: Any) -> TrainState:
        state = program.init(key, change)
        _check_memory(state, len(rates))
        control = LaneControl(
            lanes=_stacked(state.control, len(rates)),
            diverged=jnp.zeros(len(rates), bool),
            steps=jnp.zeros(len(rates), jnp.int32),
            stopped=jnp.zeros((), bool),
        )
        own = {name: _stacked(getattr(state, name), len(rates)) for name in OF_LANES}
        return state.replace(**own, control=control)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Sums]:
        def lane(own: dict[str, Any], control: Control, rate: Array) -> tuple[Any, Sums, Array]:
            scaled = control.replace(scale=control.scale * rate)
            after, sums = program.train_step(state.replace(**own, control=scaled), batch)
            goes_on = ~control.stopped & (sums["finite_steps"] > 0)
            moved = {name: getattr(after, name) for name in OF_LANES}
            own = jax.tree.map(partial(jnp.where, goes_on), moved, own)
            per_step = sums.pop("per_step")
            sums = jax.tree.map(lambda total: jnp.where(goes_on, total, 0), sums)
            # Not a number, so that a lane that has ended has no means of steps.
            per_step = jax.tree.map(lambda mean: jnp.where(goes_on, mean, jnp.nan), per_step)
            return own, sums | {"per_step": per_step}, goes_on

        control = state.control
        own = {name: getattr(state, name) for name in OF_LANES}
        own, sums, goes_on = jax.vmap(lane)(own, control.lanes, factors)
        diverged = control.diverged | ~(goes_on | control.lanes.stopped)
        stopped = control.lanes.stopped | diverged
        control = LaneControl(
            lanes=control.lanes.replace(stopped=stopped),
            diverged=diverged,
            steps=control.steps + goes_on,
            stopped=jnp.all(stopped),
        )
        per_step = sums.pop("per_step")
        together: Sums = {
            "loss": jnp.sum(sums["loss"]),
            "weight": jnp.sum(sums["weight"]),
            "examples": sum_over_devices(jnp.sum(batch["weight"])),
            "steps": jnp.ones(()),
            "finite_steps": 1.0 - jnp.all(diverged),
            "per_step": {
                f"{name}/{rate}": values[i]
                for name, values in per_step.items()
                for i, rate in enumerate(names)
            },
            "lanes": sums,
        }
        return state.replace(step=state.step + 1, **own, control=control), together

    def of_lanes(function: Any, state: TrainState, *arguments: Any, out_axes: int) -> Any:
        def lane(own: dict[str, Any], control: Control) -> Any:
            return function(state.replace(**own, control=control), *arguments)

        own = {name: getattr(state, name) for name in OF_LANES}
        return jax.vmap(lane, out_axes=out_axes)(own, state.control.lanes)

    def evaluate(state: TrainState, batch: Batch, carry: PyTree) -> Evaluated:
        sums = of_lanes(program.evaluate, state, batch, carry, out_axes=0).sums
        nothing = jnp.where(state.control.diverged, jnp.nan, 1)
        return Evaluated({"lanes": jax.tree.map(lambda total: total * nothing, sums)})

    def summarize(sums: Sums) -> Metrics:
        """Metrics of the best lane, and of every lane that has seen examples."""
        lanes = [jax.tree.map(lambda leaf, i=i: leaf[i], sums["lanes"]) for i in range(len(rates))]
        metrics = {
            rate: program.summarize(lane)
            for rate, lane in zip(names, lanes, strict=True)
            if lane["weight"] != 0
        }
        best = best_of(
            {rate: one[program.best_metric] for rate, one in metrics.items()},
            higher_is_better=program.higher_is_better,
        )
        return metrics.get(best, {}) | {
            f"{name}/{rate}": value for rate, one in metrics.items() for name, value in one.items()
        }

    def adapted(control: LaneControl, metrics: Metrics, config: ControlConfig) -> LaneControl:
        lanes = [jax.tree.map(lambda leaf, i=i: leaf[i], control.lanes) for i in range(len(rates))]
        after = [
            lane
            if lane.stopped
            else adapt(
                lane,
                metrics[f"{program.best_metric}/{rate}"],
                config,
                higher_is_better=program.higher_is_better,
            )
            for rate, lane in zip(names, lanes, strict=True)
        ]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *after)
        return control.replace(lanes=stacked, stopped=np.all(stacked.stopped))

    return replace(
        program,
        init=init,
        train_step=train_step,
        predict=partial(of_lanes, program.predict, out_axes=1),
        evaluate=evaluate,
        summarize=summarize,
        metrics=(
            *program.metrics,
            *(f"{name}/{rate}" for rate in names for name in program.metrics),
        ),
        adapt=adapted,
    )


def best_of(values: dict[Any, float], *, higher_is_better: bool) -> Any:
    """The key of the best of a metric's finite values, or None where none is finite."""
    finite = {key: value for key, value in values.items() if math.isfinite(value)}
    best = max if higher_is_better else min
    return best(finite, key=lambda key: finite[key]) if finite else None


def _stacked(tree: PyTree, count: int) -> PyTree:
    return jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf)[None], count, axis=0), tree)


def _check_memory(state: TrainState, count: int) -> None:
    """Raise ConfigError where so many lanes of a state do not fit into a device's memory."""
    one = MEMORY_FACTOR * sum(leaf.nbytes for leaf in jax.tree.leaves(state.replace(key=None)))
    available = memory_of_a_device()
    if one * count > available:
        raise ConfigError(
            f"{count} learning rates at once need about {one * count / 2**20:,.1f} MiB "
            f"({one / 2**20:,.1f} MiB each: parameters, optimizer state, gradients, a copy being "
            f"saved), and a device has {available / 2**20:,.1f} MiB; sweep at most "
            f"{available // one} at once, or train them one after another with "
            "--optimizer.learning-rate"
        )


def memory_of_a_device() -> int:
    """Bytes of memory; of a CPU's virtual devices each has its part."""
    device = jax.local_devices()[0]
    if stats := device.memory_stats():
        return stats["bytes_limit"]
    everything = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return everything // jax.local_device_count()
