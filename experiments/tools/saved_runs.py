"""What the directories of runs say of them: configuration, progress and metrics."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cnn_jax.description import DescriptionError, rebuild
from cnn_jax.errors import UserError
from cnn_jax.models import registered_name
from cnn_jax.training import Row, read_metrics
from experiments.tools.run_directory import read_config, read_summary
from experiments.tools.same_run import plain


@dataclass(frozen=True)
class SavedRun:
    """A run, or a member of a study.

    Attributes:
        directory: of its metrics and checkpoints.
        name: experiment, name and member, such as "finetune/1234abcd/all".
        model: its registered name or class; the class of its task if that has several models.
        data: title of the data set.
        config: values of the configuration by dotted name, and the seed.
        changed: those that are not the defaults of its experiment, as far as it is known today.
        step: of its last checkpoint.
        finished: whether it has reached its end.
        metrics: at the end by split, else the last of validation.
        best_metric: the metric that its task is judged by.
        date: when it was last written to.
    """

    directory: Path
    name: str
    model: str
    data: str
    config: dict[str, Any]
    changed: dict[str, Any]
    step: int
    finished: bool
    metrics: dict[str, dict[str, float]]
    best_metric: str
    date: datetime

    @property
    def rows(self) -> list[Row]:
        """The rows of its metrics.csv."""
        path = self.directory / "metrics.csv"
        return read_metrics(path) if path.exists() else []


def read_runs(root: Path) -> list[SavedRun]:
    """The members of the run in a directory.

    Raises:
        UserError: its config.json cannot be read, or is not one of a run.
    """
    saved = read_config(root)
    try:
        config = flat(saved["config"]) | {"seed": saved["seed"]}
        if saved.get("sweep"):
            config["sweep.learning_rate"] = saved["sweep"]
        changed = _changed(saved["experiment"], saved["config"], config)
        return [
            _read(root / member, f"{saved['experiment']}/{root.name}", member, one, config, changed)
            for member, one in saved["networks"].items()
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{root}/config.json is not one of a run ({error!r})") from None


def _read(
    directory: Path,
    run: str,
    member: str,
    network: Mapping[str, Any],
    config: dict[str, Any],
    changed: dict[str, Any],
) -> SavedRun:
    summary_path, rows_path = directory / "summary.json", directory / "metrics.csv"
    summary = read_summary(directory)
    steps = [
        int(path.name) for path in (directory / "checkpoints").glob("*") if path.name.isdecimal()
    ]
    metrics: dict[str, dict[str, float]] = {
        split: summary[split] for split in ("validation", "test") if split in summary
    }
    rows = read_metrics(rows_path) if rows_path.exists() else []
    validation = [row for row in rows if row["split"] == "validation"]
    if not metrics and validation:
        metrics = {"validation": _numbers(validation[-1])}
    files = [directory.parent / "config.json", directory / "config.json", summary_path, rows_path]
    written = max(path.stat().st_mtime for path in files if path.exists())
    end = summary.get("step", 0)
    task = _rebuilt(network["task"])
    return SavedRun(
        directory=directory,
        name="/".join(filter(None, (run, member))),
        model=_model(task, network["task"]),
        data=network["data"]["title"],
        config=config,
        changed=changed,
        step=max([end, *steps]),
        # A finished run that is trained for longer has newer checkpoints than its summary.
        finished=bool(summary) and max([0, *steps]) <= end,
        metrics=metrics,
        best_metric=getattr(task, "best_metric", ""),
        date=datetime.fromtimestamp(written),
    )


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of a nested configuration by dotted name."""
    values: dict[str, Any] = {}
    for name, value in config.items():
        values |= (
            flat(value, f"{prefix}{name}.")
            if isinstance(value, Mapping)
            else {f"{prefix}{name}": value}
        )
    return values


def _changed(experiment: str, saved: Mapping[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """What differs from the experiment's defaults, or from those of the recipe."""
    try:
        module = importlib.import_module(f"experiments.{experiment}")
    except ImportError:
        return {}
    recipes = getattr(module, "RECIPES", {})
    recipe = saved.get("recipe")
    defaults = flat(plain(recipes.get(recipe) or module.Config())) | {"seed": 0}
    # The recipe is shown unless it is the first one, which is the default.
    chosen = {"recipe": recipe} if recipe in list(recipes)[1:] else {}
    return chosen | {name: value for name, value in config.items() if defaults.get(name) != value}


def _rebuilt(description: Any) -> Any:
    """The task; None if its classes have changed since."""
    try:
        return rebuild(description)
    except DescriptionError:
        return None


def _model(task: Any, description: Any) -> str:
    model = getattr(task, "model", None)
    if model is not None:
        return registered_name(model)
    return str(description["class"]).rpartition(".")[2]


def _numbers(row: Row) -> dict[str, float]:
    return {
        name: value
        for name, value in row.items()
        if isinstance(value, float) and name not in ("step", "epoch")
    }
