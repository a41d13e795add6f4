"""List the runs below a folder, or compare chosen ones.

    python -m experiments.runs                                 all runs below runs/
    python -m experiments.runs resnet_cifar                    compare all of one experiment
    python -m experiments.runs resnet_cifar/1234abcd runs/vgg_cifar/5678abcd
    python -m experiments.runs 1234abcd 5678abcd               the folder's name is enough

A comparison shows the values and metrics in which the runs differ. It writes comparison.csv, and
curves.png with their loss and accuracy over the steps.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from tyro.conf import OmitArgPrefixes, Positional

from cnn_jax.errors import UserError
from cnn_jax.visual import compared_curves, save_figure
from experiments.tools.command_line import run_tool
from experiments.tools.messages import printable, say
from experiments.tools.output import OutputConfig, output_folder, write_csv, writing
from experiments.tools.report import number
from experiments.tools.saved_runs import SavedRun, read_runs

DRAWN: tuple[Literal["loss", "accuracy"], ...] = ("loss", "accuracy")


@dataclass(frozen=True)
class Options:
    """Which runs."""

    runs: Positional[tuple[str, ...]] = ()
    """Runs to compare: directories, with or without WORKDIR, names, or experiments. Without any,
    all runs are listed."""
    workdir: str = "runs"
    """Folder of the runs, WORKDIR/experiment/name."""
    output: OmitArgPrefixes[OutputConfig] = field(default_factory=OutputConfig)


def find(workdir: Path, asked: str) -> list[Path]:
    """The directories of the runs that a word names.

    Raises:
        UserError: there are none; close names are listed.
    """
    there = _directories(workdir)
    for path in (Path(asked).expanduser(), workdir / asked):
        if (path / "config.json").exists() or (path.parent / "config.json").exists():
            return [path]
        if inside := sorted(one.parent for one in path.glob("*/config.json")):
            return inside
    if named := [path for path in there if path.name == asked]:
        return named
    known = [name for path in there for name in (path.name, f"{path.parent.name}/{path.name}")]
    close = difflib.get_close_matches(asked, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else "without names all runs are listed"
    raise UserError(f"there is no run {asked!r} in {workdir}; {hint}")


def _directories(workdir: Path) -> list[Path]:
    return sorted(path.parent for path in workdir.glob("*/*/config.json"))


def _chosen(workdir: Path, words: Sequence[str]) -> list[SavedRun]:
    found: dict[Path, SavedRun] = {}
    for word in words:
        for path in find(workdir, word):
            whole = (path / "config.json").exists()
            members = read_runs(path if whole else path.parent)
            found |= {
                one.directory.resolve(): one
                for one in members
                if whole or one.directory.name == path.name
            }
    return list(found.values())


def overview(runs: Sequence[SavedRun], title: str) -> Table:
    """A table with one row per run, the newest last."""
    table = Table(title=escape(title), title_justify="left")
    table.add_column("run", no_wrap=True)  # to be copied
    for heading in ("model", "data", "not default"):
        table.add_column(heading, overflow="fold")
    for heading in ("metric", "state", "date"):
        table.add_column(heading)
    for run in sorted(runs, key=lambda run: run.date):
        split = "test" if "test" in run.metrics else "validation"
        value, metric = run.metrics.get(split, {}).get(run.best_metric), run.best_metric
        state = "finished" if run.finished else "interrupted" if run.step else "not started"
        cells = (
            run.name,
            run.model,
            run.data,
            "\n".join(f"{name}={value}" for name, value in run.changed.items()),
            "" if value is None else f"{split} {metric} {number(metric, value)}",
            f"{state}, {run.step:,} steps",
            f"{run.date:%Y-%m-%d %H:%M}",
        )
        lines = (map(printable, cell.split("\n")) for cell in cells)
        table.add_row(*(escape("\n".join(cell)) for cell in lines))
    return table


def differences(runs: Sequence[SavedRun]) -> list[dict[str, str]]:
    """Rows of a comparison: a value or metric by run, those that are equal left out."""
    rows: list[tuple[str, list[Any]]] = [
        ("model", [run.model for run in runs]),
        ("data", [run.data for run in runs]),
    ]
    for name in dict.fromkeys(name for run in runs for name in run.config):
        rows.append((name, [run.config.get(name, "") for run in runs]))
    rows.append(("steps", [run.step for run in runs]))
    rows = [(name, values) for name, values in rows if any(one != values[0] for one in values)]
    for split in ("validation", "test"):
        for metric in dict.fromkeys(name for run in runs for name in run.metrics.get(split, {})):
            values = [run.metrics.get(split, {}).get(metric) for run in runs]
            texts = ["" if value is None else number(metric, value) for value in values]
            rows.append((f"{split} {metric}", texts))
    names = [run.name for run in runs]
    return [{"": what} | dict(zip(names, map(str, values), strict=True)) for what, values in rows]


def _comparison(rows: Sequence[dict[str, str]], title: str) -> Table:
    table = Table(title=escape(title), title_justify="left")
    for name in rows[0]:
        table.add_column(escape(printable(name)), overflow="fold")
    for row in rows:
        table.add_row(*(escape(printable(value)) for value in row.values()))
    return table


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    run_tool("runs", Options, _run, description=__doc__, argv=argv)


def _run(options: Options, console: Console) -> None:
    workdir = Path(options.workdir).expanduser()
    if not options.runs:
        _list(workdir, console)
        return
    runs = _chosen(workdir, options.runs)
    if len(runs) < 2:
        raise UserError(f"one run cannot be compared: {runs[0].name}; give two or more")
    rows = differences(runs)
    console.print(_comparison(rows, f"{len(runs)} runs"))
    curves = {run.name: run.rows for run in runs if run.rows}
    drawn = [what for what in DRAWN if all(_has(what, rows) for rows in curves.values())]
    folder = output_folder(options.output, "compare", "-".join(run.directory.name for run in runs))
    with writing(folder):
        write_csv(folder / "comparison.csv", rows)
        if curves and drawn:
            figure = compared_curves(curves, drawn, title=f"{len(curves)} runs")
            save_figure(figure, folder / "curves.png")
    files = "comparison.csv" + (", curves.png" if curves and drawn else "")
    say(console, f"see {folder}: {files}")


def _has(quantity: str, rows: Sequence[dict[str, Any]]) -> bool:
    return any(row.get(quantity, "") != "" for row in rows)


def _list(workdir: Path, console: Console) -> None:
    runs: list[SavedRun] = []
    errors: list[UserError] = []
    for directory in _directories(workdir):
        try:
            runs += read_runs(directory)
        except UserError as error:
            errors.append(error)
    if not runs and not errors:
        raise UserError(f"there are no runs in {workdir}; name their folder with --workdir")
    if runs:
        console.print(overview(runs, f"runs in {workdir}"))
    for left_out in errors:
        say(console, f"left out: {left_out}")
