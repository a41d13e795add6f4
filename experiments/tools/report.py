"""What a run shows at its end: its figures and its final table."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cnn_jax.training import Result, is_primary
from cnn_jax.visual import NothingToDraw, save_animation, save_figure
from experiments.tools.messages import say

Compare = Callable[[Mapping[str, Result]], Mapping[str, Any]]
MOST_COLUMNS = 8
"""Metrics that the final table has as columns; more are its rows."""


def draw_figures(result: Result, folder: Path, console: Console, *, heading: str) -> None:
    """Draw the figures of a result; those for which it has nothing to show are named."""
    for name, draw in result.experiment.figures.items():
        # Every process draws, because all of them compute the outputs that a figure may ask for.
        try:
            figure = draw(result)
        except NothingToDraw as reason:
            note(console, f"no figure {name}: {reason}")
            continue
        if is_primary():
            save_figure(figure, folder / f"{name}.png", heading=heading)


def animate_pictures(names: Iterable[str], folder: Path) -> None:
    """Write an animation of the pictures of each name that were drawn during a training.

    Args:
        names: of `Experiment.pictures`.
        folder: holds the pictures, each named with its step, and gets the animations.
    """
    for name in names:
        pictures = sorted(folder.glob(f"{name}-[0-9]*.png"), key=_step)
        if is_primary() and len(pictures) > 1:
            save_animation(pictures, folder / f"{name}.gif")


def _step(picture: Path) -> int:
    return int(picture.stem.rpartition("-")[2])


def draw_comparison(
    compare: Compare,
    results: Mapping[str, Result],
    folder: Path,
    console: Console,
    *,
    heading: str,
) -> None:
    """Draw the figures that compare the members of a study."""
    try:
        figures = compare(results)
    except NothingToDraw as reason:
        note(console, f"no comparison: {reason}")
        return
    if is_primary():
        for name, figure in figures.items():
            save_figure(figure, folder / f"{name}.png", heading=heading)


def note(console: Console, text: str) -> None:
    """Tell the user something that is no error."""
    if is_primary():
        console.print("[yellow]note:[/]", end=" ")
        say(console, text)


def final_table(title: str, results: Mapping[str, Result]) -> Table:
    """The final table: a row a run and split, or a column where there are many metrics."""
    # The runs of a study may have different tasks.
    names = dict.fromkeys(metric for result in results.values() for metric in result.metrics)
    # Details have a slash in their name.
    metrics = [name for name in names if "/" not in name]
    restored = any(result.summary["weights"] == "best" for result in results.values())
    details = (*(["weights"] if restored else []), "steps", "parameters", "minutes")
    lines = [["run", "split", *metrics, *details]]
    for name, result in results.items():
        summary = result.summary
        for split in ("validation", "test"):
            if split not in summary:
                continue
            lines.append(
                [
                    name or "final",
                    split,
                    *(
                        number(metric, summary[split][metric]) if metric in summary[split] else ""
                        for metric in metrics
                    ),
                    *([f"{summary['weights']}, step {summary['weights_step']:,}"] * restored),
                    f"{summary['step']:,}",
                    f"{summary['parameters']:,}",
                    f"{summary['train_seconds'] / 60:.1f}",
                ]
            )
    table = Table(title=escape(title), title_justify="left")
    if len(metrics) > MOST_COLUMNS:
        table.add_column("run", overflow="fold")
        for line in lines[1:]:
            table.add_column(f"{line[0]}, {line[1]}", justify="right", overflow="fold")
        lines = [list(row) for row in zip(*lines, strict=True)][1:]
    else:
        for heading in lines[0]:
            left = heading in ("run", "split")
            table.add_column(heading, justify="left" if left else "right", overflow="fold")
    for line in lines[1:]:
        table.add_row(*line)
    return table


def number(metric: str, value: float) -> str:
    """A metric's value as it is printed."""
    return f"{100 * value:.2f}%" if metric == "accuracy" else f"{value:.4f}"
