"""An experiment trained with several learning rates at once: table, figures and summary."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cnn_jax.errors import ConfigError
from cnn_jax.training import (
    Experiment,
    Parallel,
    Result,
    SweepResult,
    is_primary,
    sweep,
    write_metrics,
)
from cnn_jax.visual import learning_rate_curves, save_figure
from experiments.tools import run_directory
from experiments.tools.report import draw_figures, note, number


def only_experiment(study: Mapping[str, Experiment]) -> Experiment:
    """The experiment to sweep; ConfigError for a study of several."""
    if len(study) > 1:
        raise ConfigError(
            f"--sweep.learning-rate is for one run, but this configuration has {len(study)}: "
            f"{', '.join(study)}; choose options that leave one"
        )
    return next(iter(study.values()))


def run_sweep(
    experiment: Experiment,
    rates: Sequence[float],
    directory: Path,
    parallel: Parallel,
    *,
    seed: int,
    title: str,
    heading: str,
    console: Console,
    writer: Callable[[int, dict[str, float]], None] | None,
    profile: Path | None,
) -> Result:
    """Train with all rates; write the chosen rate's metrics.csv, summary.json and figures.

    Returns:
        The result of the chosen rate.
    """
    if is_primary() and jax.default_backend() == "cpu" and _convolutional(experiment):
        note(console, "on CPU, convolutional networks train faster one rate at a time")
    swept = sweep(
        experiment,
        rates,
        directory,
        parallel,
        seed=seed,
        title=title,
        console=console if is_primary() else None,
        writer=writer,
        profile=profile,
    )
    result, task = swept.result, experiment.task
    rate = swept.lanes[swept.chosen]["learning_rate"]
    draw_figures(result, directory / "figures", console, heading=heading)
    if is_primary():
        path = directory / "figures" / "learning_rates.png"
        save_figure(_figure(swept, title), path, heading=heading)
        columns = dict.fromkeys(name for row in result.rows for name in row)
        write_metrics(directory / "metrics.csv", list(columns), result.rows)
        run_directory.write_summary(
            directory,
            {
                "title": title,
                "seed": seed,
                "learning_rate": rate,
                "chosen_by": f"validation {task.best_metric}",
                **result.summary,
                "rates": [
                    {name: value for name, value in lane.items() if name != "rows"}
                    for lane in swept.lanes
                ],
            },
        )
        console.print(_table(swept, title))
    return result


def _convolutional(experiment: Experiment) -> bool:
    spec = experiment.dataset.spec
    params, _ = jax.eval_shape(lambda key: experiment.task.init(key, spec), jax.random.key(0))
    return any(leaf.ndim == 4 for leaf in jax.tree.leaves(params))


def _figure(swept: SweepResult, title: str) -> Any:
    metric = swept.result.experiment.task.best_metric
    ends = {lane["learning_rate"]: lane["validation"] for lane in swept.lanes}
    return learning_rate_curves(
        {lane["learning_rate"]: lane["rows"] for lane in swept.lanes},
        {rate: end[metric] if end else None for rate, end in ends.items()},
        swept.lanes[swept.chosen]["learning_rate"],
        metric=metric,
        title=f"{title}, learning rates trained at once",
    )


def _table(swept: SweepResult, title: str) -> Table:
    """A row per rate; the chosen one is marked."""
    metrics = swept.result.metrics
    table = Table(title=escape(f"{title}, validation"), title_justify="left")
    for heading in ("learning rate", "steps", *metrics):
        table.add_column(heading, justify="right")
    table.add_column("")
    for place, lane in enumerate(swept.lanes):
        values = lane["validation"]
        remark = "chosen" if place == swept.chosen else "stopped early"
        remark = remark if place == swept.chosen or lane["stopped_early"] else ""
        table.add_row(
            f"{lane['learning_rate']:g}",
            f"{lane['step']:,}",
            *(number(metric, values[metric]) if values else "" for metric in metrics),
            "diverged" if lane["diverged"] else remark,
            style="bold" if place == swept.chosen else None,
        )
    return table
