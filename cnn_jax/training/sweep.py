"""A sweep of learning rates: all of them train at once, as one program, and one is chosen."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax

from cnn_jax.errors import ConfigError, UserError, check_range
from cnn_jax.training.checkpoint import Checkpoints
from cnn_jax.training.experiment import Experiment, Result
from cnn_jax.training.optimizers import OptimizerConfig
from cnn_jax.training.parallel import Parallel
from cnn_jax.training.plan import Plan
from cnn_jax.training.program import Program
from cnn_jax.training.supervised import supervised
from cnn_jax.training.swept import best_of, swept
from cnn_jax.training.train import train

JOINT = "rates"
"""Folder of the joint training in the directory of a sweep."""


@dataclass(frozen=True)
class SweepConfig:
    """Learning rates that are trained at once."""

    learning_rate: tuple[float, ...] = ()
    """Train with all of these peak rates at once, in place of --optimizer.learning-rate, and
    choose one by the validation split: 1e-4 1e-3 1e-2."""

    def __post_init__(self) -> None:
        rates = self.learning_rate
        check_range(self, 0, above=True, learning_rate=rates)
        if len(set(rates)) < len(rates):
            raise UserError(f"the learning rates of a sweep must differ, got {rates}")


@dataclass(frozen=True)
class SweepResult:
    """What a sweep leaves in memory."""

    lanes: list[dict[str, Any]]
    """For each rate its ``learning_rate``, ``step``, ``stopped_early``, ``diverged``, its metrics
    on ``validation`` (None where it diverged), and the ``rows`` of its own run. All are as at the
    end, or at the best evaluation where ``control.restores_best``."""
    chosen: int
    """The lane with the best validation metric."""
    result: Result
    """The chosen lane's, as an ordinary run with this rate leaves it."""


def sweep(
    experiment: Experiment,
    rates: Sequence[float],
    directory: Path,
    parallel: Parallel,
    **options: Any,
) -> SweepResult:
    """Train an experiment with several learning rates at once and choose one of them.

    The rate is chosen by the best metric on the validation split, at the end or, with
    ``control.restores_best``, at any evaluation.

    The joint training has its checkpoints and metrics in ``directory/rates``. The chosen rate's
    network is saved in ``directory/checkpoints``, like that of an ordinary run.

    Args:
        experiment: what to train; its own learning rate is not used.
        rates: peak learning rates.
        directory: of the run.
        parallel, options: as for `train`.

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

    result = train(replace(experiment, program=program), directory / JOINT, parallel, **options)
    control, summary = result.control, result.summary
    lanes: list[dict[str, Any]] = [
        {
            "learning_rate": rate,
            "step": int(control.steps[i]),
            "stopped_early": bool(control.lanes.stopped[i] and not control.diverged[i]),
            "diverged": bool(control.diverged[i]),
            "validation": None if control.diverged[i] else _of(rate, summary["validation"]),
            "rows": [
                {key: row[key] for key in ("step", "epoch", "split")} | _of(rate, row)
                for row in result.rows
            ],
        }
        for i, rate in enumerate(rates)
    ]
    best = experiment.task.best_metric
    ends = {i: lane["validation"][best] for i, lane in enumerate(lanes) if lane["validation"]}
    chosen = best_of(ends, higher_is_better=experiment.task.higher_is_better)
    one, rate = lanes[chosen], rates[chosen]
    own_summary: dict[str, Any] = {
        "step": one["step"],
        "stopped_early": one["stopped_early"],
        "parameters": summary["parameters"] // len(rates),
        "trained_parameters": summary["trained_parameters"] // len(rates),
    }
    for split in summary.keys() & {"validation", "test"}:
        own_summary[split] = _of(rate, summary[split])
    own_result = replace(
        result,
        experiment=_with_rate(experiment, rate),
        metrics=tuple(name for name in result.metrics if "/" not in name),
        summary=summary | own_summary,
        rows=one["rows"],
        variables=jax.tree.map(lambda leaf: leaf[chosen], result.variables),
        outputs=lambda split: jax.tree.map(lambda leaf: leaf[:, chosen], result.outputs(split)),
    )
    _save(own_result, directory / "checkpoints", parallel)
    return SweepResult(lanes, chosen, own_result)


def _save(result: Result, directory: Path, parallel: Parallel) -> None:
    """Write the checkpoint of a chosen network, unless it is there and whole."""
    task, step = result.experiment.task, result.summary["weights_step"]
    checkpoints = Checkpoints(
        directory, best_metric=task.best_metric, higher_is_better=task.higher_is_better
    )
    if step not in checkpoints.steps() or checkpoints.damage(step):
        params = result.variables["params"]
        model_state = {name: part for name, part in result.variables.items() if name != "params"}
        state = parallel.place({"params": params, "model_state": model_state})
        checkpoints.save(step, {"state": state}, result.summary["validation"])
    checkpoints.close()


def _of(rate: float, values: dict[str, Any]) -> dict[str, Any]:
    """The values of one rate, whose names end in it."""
    ending = f"/{rate:g}"
    return {
        name.removesuffix(ending): value for name, value in values.items() if name.endswith(ending)
    }


def _with_rate(experiment: Experiment, rate: float) -> Experiment:
    if not isinstance(experiment.optimizer, OptimizerConfig):
        raise ConfigError(
            "a sweep sets the learning rate of an OptimizerConfig, and the experiment has an "
            f"optimizer of its own ({type(experiment.optimizer).__name__})"
        )
    return replace(experiment, optimizer=replace(experiment.optimizer, learning_rate=rate))
