"""Measurements of sides that run in turn, and how they are shown."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, TypeVar

import numpy as np
from rich.console import Console
from rich.table import Table

from cnn_jax.errors import UserError
from experiments.tools.bench.processes import Process

Measurement = TypeVar("Measurement")
Unit = Literal["images/s", "iterations/s", "words/s", "characters/s", "s", "MiB"]


class DifferentWork(UserError):
    """The sides of a comparison do not compute the same."""


@dataclass(frozen=True)
class Comparison:
    """Measurements of several sides in turn; the first one is compared with each other one."""

    title: str
    unit: Unit
    """Higher is better for rates, lower for s and MiB."""
    values: dict[str, list[float]]
    """The measurements of each side, one per round."""
    notes: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
    """Further measurements for the JSON file."""

    @property
    def ratios(self) -> dict[str, list[float]]:
        """The first side over each other one, round by round."""
        (_, first), *others = self.values.items()
        return {
            name: [a / b for a, b in zip(first, values, strict=True)] for name, values in others
        }

    def as_json(self) -> dict[str, Any]:
        """All fields, with medians and ratios."""
        medians = {name: statistics.median(values) for name, values in self.values.items()}
        return asdict(self) | {"medians": medians, "ratios": self.ratios}


def in_turn(measures: Sequence[Callable[[], Measurement]], rounds: int) -> list[list[Measurement]]:
    """Take measurements one after another; every other round begins with the last one."""
    values: list[list[Measurement]] = [[] for _ in measures]
    order = list(range(len(measures)))
    for number in range(rounds):
        for index in order if number % 2 == 0 else order[::-1]:
            values[index].append(measures[index]())
    return values


def timings(processes: Sequence[Process], steps: int, rounds: int) -> dict[str, list[dict]]:
    """The answers of sides that make `steps` steps in turn, by name.

    Each measurement follows one step that does not count: while a side was suspended, its memory
    may have left the caches, or on a virtual machine the RAM.
    """

    def asking(process: Process) -> Callable[[], dict]:
        def measured() -> dict:
            process.ask({"measure": "run", "steps": 1})
            return process.ask({"measure": "run", "steps": steps})

        return measured

    answers = in_turn([asking(process) for process in processes], rounds)
    return {process.name: rows for process, rows in zip(processes, answers, strict=True)}


def rates(answers: dict[str, list[dict]], work: int) -> dict[str, list[float]]:
    """Work per second, given the amount of work in each answer."""
    return {name: [work / row["seconds"] for row in rows] for name, rows in answers.items()}


def warm_up(processes: Sequence[Process], steps: int = 3) -> None:
    """Let each side make its first steps, which compile."""
    for process in processes:
        process.ask({"measure": "run", "steps": steps})


def added(comparison: Comparison, what: str) -> Comparison:
    """A comparison of two rates, with a line on how much more time the first side takes."""
    (row,) = comparison.ratios.values()
    percent = [100 * (1 / ratio - 1) for ratio in row]
    line = f"{what} {statistics.median(percent):.1f}% ({min(percent):.1f} to {max(percent):.1f})"
    return replace(comparison, notes=(*comparison.notes, line))


def check_same_work(processes: Sequence[Process], *, steps: int, rtol: float) -> str:
    """Let each side make its first steps, and compare the losses.

    These steps also compile what has not been compiled yet.

    Returns:
        A line with the losses.

    Raises:
        DifferentWork: losses differ by more than `rtol` times the first side's largest.
    """
    request = {"measure": "run", "steps": 1}
    numbers = {
        process.name: [number for _ in range(steps) for number in process.ask(request)["numbers"]]
        for process in processes
    }
    line = "; ".join(
        f"{name} {', '.join(f'{number:.5g}' for number in row)}" for name, row in numbers.items()
    )
    (_, first), *others = numbers.items()
    for name, row in others:
        limit = rtol * np.max(np.abs(first))
        # Written so that NaN counts as a difference.
        if len(row) != len(first) or not np.max(np.abs(np.subtract(first, row))) <= limit:
            raise DifferentWork(
                f"{name} does not do the same work as {processes[0].name}: the losses of the first "
                f"{steps} steps differ by more than {rtol:g}: {line}"
            )
    return f"losses of the first steps: {line}"


def show(comparison: Comparison, console: Console) -> None:
    """Print a row per side: median, least and most, and the ratio of the first side to it."""
    table = Table(title=comparison.title, title_justify="left")
    table.add_column("side")
    for heading in (f"median {comparison.unit}", "least to most", "ratio to it", "rounds"):
        table.add_column(heading, justify="right")
    ratios = comparison.ratios
    for name, values in comparison.values.items():
        ratio = "1"
        if name in ratios:
            row = ratios[name]
            ratio = f"{statistics.median(row):.3f} ({min(row):.3f} to {max(row):.3f})"
        table.add_row(
            name,
            f"{statistics.median(values):,.1f}",
            f"{min(values):,.1f} to {max(values):,.1f}",
            ratio,
            str(len(values)),
        )
    console.print(table)
    for note in comparison.notes:
        console.print(note, highlight=False, soft_wrap=True)
