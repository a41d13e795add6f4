"""Going on with a run for longer than it was to last: ``--resume RUN --training.duration …``."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cnn_jax.errors import ConfigError
from cnn_jax.training import Experiment, OptimizerConfig, make_plan, make_schedule
from experiments.tools import run_directory
from experiments.tools.command_line import RunOptions
from experiments.tools.same_run import RunDirectoryError, decisive, differences, plain

LENGTH = "config.training.duration"
"""The one value that may differ from the run's."""


def is_longer(config: Any, options: RunOptions, before: Any, options_before: RunOptions) -> bool:
    """Whether the flags beside ``--resume`` give the run another length.

    Raises:
        RunDirectoryError: they give it another value than its length.
    """
    asked, there = (
        {
            "config": decisive(plain(one)),
            "seed": chosen.seed,
            "sweep": list(chosen.sweep.learning_rate),
        }
        for one, chosen in ((config, options), (before, options_before))
    )
    lines = differences(there, asked)
    if any(not line.startswith(f"{LENGTH}:") for line in lines):
        raise RunDirectoryError(
            f"{options.resume} is a run with another configuration:\n"
            + "\n".join(f"  {line}" for line in lines)
            + "\nLeave these flags out beside --resume, or start a new run; only "
            "--training.duration may be longer"
        )
    return bool(lines)


def check(directory: Path, study: Mapping[str, Experiment]) -> list[str]:
    """What is to be known of the longer run: its schedules, and members that began from others.

    Args:
        directory: of the run, whose ``config.json`` still says how long it was to last.
        study: the experiments of the new length, by name; one that is no study has the name "".

    Raises:
        ConfigError: a member has made more steps than the new length has.
    """
    networks = run_directory.read_config(directory).get("networks", {})
    notes, longer = [], False
    for member, one in study.items():
        plan, at = make_plan(one), run_directory.last_step(directory / member)
        if at is None:
            continue
        if at > plan.total:
            raise ConfigError(
                f"{directory / member} has been trained for {at:,} steps, and --training.duration "
                f"gives it only {plan.total:,}; give a longer one"
            )
        if longer and one.initialize is not None:
            notes.append(f"{member} began from earlier members as they were before this command")
        longer = longer or at < plan.total
        settings = networks.get(member, {}).get("training")
        if settings and at < plan.total and (note := _schedule(one, settings["duration"], at)):
            notes.append(f"{member}: {note}" if member else note)
    return notes


def _schedule(experiment: Experiment, duration: str, at: int) -> str:
    """What becomes of a schedule that depends on the length; "" for one that does not."""
    if experiment.program is not None or not isinstance(experiment.optimizer, OptimizerConfig):
        return ""
    before = replace(experiment, training=replace(experiment.training, duration=duration))
    plans = [make_plan(one) for one in (before, experiment)]
    peak = replace(experiment.optimizer, learning_rate=1.0)
    old, new = (float(make_schedule(peak, plan.total, plan.steps)(at)) for plan in plans)
    if math.isclose(old, new, rel_tol=1e-6, abs_tol=1e-9):
        return ""
    return (
        f"the {experiment.optimizer.schedule} schedule is computed anew for {plans[1].total:,} "
        f"steps instead of {plans[0].total:,} and goes on from step {at:,}: there the learning "
        f"rate is {new:.3g} of its peak, in the shorter schedule it was {old:.3g}"
    )
