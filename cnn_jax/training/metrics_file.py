"""``metrics.csv``: the rows of a run, which survive a kill."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class MetricsFile:
    """``metrics.csv``: one row for each training portion and one for each evaluation.

    It holds no times, so the file of a run that was killed and resumed equals that of the
    uninterrupted one.

    Args:
        path: the file.
        metrics: names of the columns after step, epoch and split.
        resume_step: rows after this step are dropped; the resumed run makes them again. None: all
            are.
        writes: whether this process writes the file. The others of a job keep the same rows in
            memory: those that are there, and those that they append.
    """

    def __init__(
        self,
        path: Path,
        metrics: Sequence[str],
        *,
        resume_step: int | None = None,
        writes: bool = True,
    ) -> None:
        self.columns = ["step", "epoch", "split", *metrics]
        self.path, self._writes = path, writes
        self.rows: list[Row] = []
        if resume_step is not None and path.exists():
            self.rows = [row for row in read_metrics(path) if row["step"] <= resume_step]
        if writes:
            write_metrics(path, self.columns, self.rows)

    def append(self, row: Row) -> None:
        """Add a row, on disk at once; columns that it does not have are empty."""
        row = {column: "" for column in self.columns} | row
        self.rows.append(row)
        if self._writes:
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self.columns).writerow(row)


def write_metrics(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Write a whole metrics.csv beside the old one and rename it, so that a kill loses nothing."""
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(partial, path)


def read_metrics(path: Path) -> list[Row]:
    """The rows of a metrics.csv; a last line cut short by a kill is left out."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [_parsed(row) for row in rows if None not in row.values() and row["step"]]


def _parsed(row: dict[str, str]) -> Row:
    def value(name: str, text: str) -> Any:
        if name == "split" or text == "":
            return text
        return int(text) if name == "step" else float(text)

    return {name: value(name, text) for name, text in row.items()}
