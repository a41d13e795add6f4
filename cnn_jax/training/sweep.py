"""A sweep of learning rates: a transformation of a program into one that trains with all of them.

Every rate has a lane: its own parameters, statistics, optimizer state and counters, stacked along a
leading axis under `jax.vmap`. All lanes begin alike, see the same examples and draw the same random
numbers. The program that is transformed has a peak rate of 1. The rate of lane k at a step is

    rates[k] * shape(step) * plateau[k]

because the updates of all our optimizers, decoupled weight decay among them, are proportional to
the rate. The loop, the logs and the checkpoints treat it like any other program.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, no_type_check

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PyTree

from cnn_jax.errors import ConfigError
from cnn_jax.training.control import Control, ControlConfig, adapt
from cnn_jax.training.experiment import Experiment, Result
from cnn_jax.training.mapped import sum_over_devices
from cnn_jax.training.metrics_file import Row
from cnn_jax.training.parallel import Parallel
from cnn_jax.training.plan import Plan
from cnn_jax.training.program import Batch, Evaluated, Metrics, Program, Sums
from cnn_jax.training.state import TrainState
from cnn_jax.training.supervised import supervised
from cnn_jax.training.train import train

MEMORY_FACTOR = 3
"""States that a step needs room for: itself, its gradients and updates, the copy being saved."""
OF_LANES = ("params", "model_state", "opt_state", "ema")


@dataclass(frozen=True)
class SweepConfig:
    """Learning rates that are trained at once."""

    learning_rate: tuple[float, ...] = ()
    """Train with all of these peak rates at once, in place of --optimizer.learning-rate, and
    choose one by the validation split: 1e-4 1e-3 1e-2."""

    def __post_init__(self) -> None:
        rates = self.learning_rate
        for rate in rates:
            if not (rate > 0 and math.isfinite(rate)):
                raise ConfigError(f"a learning rate of a sweep must be positive, got {rate}")
        if len(set(rates)) < len(rates):
            raise ConfigError(f"the learning rates of a sweep must differ, got {rates}")


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
        best = best_of({rate: one[program.best_metric] for rate, one in metrics.items()}, program)
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


@dataclass(frozen=True)
class SweepResult:
    """What a sweep leaves in memory."""

    lanes: list[dict[str, Any]]
    """For each rate its ``learning_rate``, ``step``, ``stopped_early``, ``diverged`` and the
    metrics at its end on ``validation`` (None where it diverged)."""
    chosen: int
    """The lane with the best validation metric at its end."""
    result: Result
    """The chosen lane's, as an ordinary run with this rate leaves it."""
    rows: list[list[Row]]
    """For each rate the rows of its own run."""


def sweep(
    experiment: Experiment,
    rates: Sequence[float],
    directory: Path,
    parallel: Parallel,
    **options: Any,
) -> SweepResult:
    """Train an experiment with several learning rates at once and choose one of them.

    The rate is chosen by the best metric on the validation split, at the end.

    Args:
        experiment: what to train; its own learning rate is not used.
        rates: peak learning rates.
        directory, parallel, options: as for `train`.

    Raises:
        ConfigError: there is no validation split to choose by, or as for `swept`.
        TrainingDiverged: with every rate.
    """
    rates = SweepConfig(tuple(rates)).learning_rate
    if not rates:
        raise ConfigError("a sweep needs at least one learning rate")
    if "validation" not in experiment.dataset.splits:
        raise ConfigError(
            f"the rate of a sweep is chosen by the validation split, and {experiment.dataset.title}"
            f" has only {', '.join(experiment.dataset.splits)}"
        )
    make = experiment.program or supervised

    def program(one: Experiment, plan: Plan) -> Program:
        return swept(make(_with_rate(one, 1.0), plan), rates)

    result = train(replace(experiment, program=program), directory, parallel, **options)
    control, names = result.control, [f"{rate:g}" for rate in rates]
    metrics = result.metrics[: len(result.metrics) // (len(rates) + 1)]

    def of_lane(name: str, values: dict[str, Any]) -> dict[str, Any]:
        ending = f"/{name}"
        return {key.removesuffix(ending): v for key, v in values.items() if key.endswith(ending)}

    ends = [of_lane(name, result.summary["validation"]) for name in names]
    lanes = [
        {
            "learning_rate": rate,
            "step": int(control.steps[i]),
            "stopped_early": bool(control.lanes.stopped[i] and not control.diverged[i]),
            "diverged": bool(control.diverged[i]),
            "validation": None if control.diverged[i] else ends[i],
        }
        for i, rate in enumerate(rates)
    ]
    task: Any = experiment.task
    values = {i: end[task.best_metric] for i, end in enumerate(ends)}
    chosen = best_of(values, task)
    rows = [
        [
            {key: row[key] for key in ("step", "epoch", "split")} | of_lane(name, row)
            for row in result.rows
        ]
        for name in names
    ]
    summary = result.summary | {
        "step": lanes[chosen]["step"],
        "stopped_early": lanes[chosen]["stopped_early"],
        "parameters": result.summary["parameters"] // len(rates),
        "trained_parameters": result.summary["trained_parameters"] // len(rates),
    }
    for split in ("validation", "test"):
        if split in summary:
            summary[split] = of_lane(names[chosen], summary[split])
    one = replace(
        result,
        experiment=_with_rate(experiment, rates[chosen]),
        metrics=metrics,
        summary=summary,
        rows=rows[chosen],
        variables=jax.tree.map(lambda leaf: leaf[chosen], result.variables),
        outputs=lambda split: jax.tree.map(lambda leaf: leaf[:, chosen], result.outputs(split)),
    )
    return SweepResult(lanes, chosen, one, rows)


def best_of(values: dict[Any, float], task: Any) -> Any:
    """The key of the best of a metric's finite values, or None where none is finite."""
    finite = {key: value for key, value in values.items() if math.isfinite(value)}
    best = max if task.higher_is_better else min
    return best(finite, key=lambda key: finite[key]) if finite else None


def _with_rate(experiment: Experiment, rate: float) -> Experiment:
    return replace(experiment, optimizer=replace(experiment.optimizer, learning_rate=rate))


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
