"""``metrics.csv``: the rows of a run, which survive a kill."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cnn_jax.durable import DamagedFile, read_file, set_aside, write_text

Row = dict[str, Any]
COLUMNS = ("step", "epoch", "split")
"""The first columns of every file."""


class MetricsFile:
    """``metrics.csv``: one row for each training portion and one for each evaluation.

    It holds no times, so the file of a run that was killed and resumed equals that of the
    uninterrupted one. A checkpoint holds the rows up to its step, from which a resumed run writes
    the file anew; a file that has lost or changed one of them is set aside.

    Args:
        path: the file.
        metrics: names of the columns after step, epoch and split.
        record: text of the rows up to the checkpoint that the run goes on from.
        writes: whether this process writes the file. The others of a job keep the same rows in
            memory: those of the record, and those that they append.
    """

    def __init__(
        self, path: Path, metrics: Sequence[str], *, record: str = "", writes: bool = True
    ) -> None:
        self.columns = [*COLUMNS, *metrics]
        self.path, self._writes = path, writes
        self.rows = _parse(record, path) if record else []
        self.notes: list[str] = []
        """What became of a damaged file."""
        if writes:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._mend(record)
            write_text(path, self.text())

    def _mend(self, record: str) -> None:
        damage = _damage(self.path, record)
        if damage:
            place = set_aside(self.path).name if self.path.exists() else ""
            self.notes.append(
                f"{self.path.name} {damage}: its {len(self.rows)} rows are written anew from the "
                "checkpoint" + (f", the file that was there is {place}" if place else "")
            )

    def append(self, row: Row) -> None:
        """Add a row, on disk at once; columns that it does not have are empty."""
        row = {column: "" for column in self.columns} | row
        self.rows.append(row)
        if self._writes:
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self.columns).writerow(row)

    def text(self) -> str:
        """All rows, as they are in the file."""
        return _text(self.columns, self.rows)


def write_metrics(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Write a whole metrics.csv; a kill leaves the old one or the new one."""
    write_text(path, _text(columns, rows))


def read_metrics(path: Path) -> list[Row]:
    """The rows of a metrics.csv; a last line cut short by a kill is left out.

    Raises:
        DamagedFile: it cannot be read.
    """
    try:
        text = read_file(path).decode()
    except (OSError, ValueError) as error:
        raise DamagedFile(f"cannot read {path}: {error}; a resumed run mends it") from None
    return _parse(text, path)


def _damage(path: Path, record: str) -> str:
    """What is wrong with a file that should begin with the record; "" if nothing is."""
    if path.exists() and not path.is_file():
        return "is not a regular file"
    if not record:
        return ""  # what is there belongs to no checkpoint
    if not path.exists():
        return "is missing"
    try:
        begins = path.read_bytes().startswith(record.encode())
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return "" if begins else "has lost or changed rows"


def _text(columns: Sequence[str], rows: Sequence[Row]) -> str:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, columns)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _parse(text: str, path: Path) -> list[Row]:
    whole = text[: text.rfind("\n") + 1]
    if not whole.startswith(",".join(COLUMNS)):
        raise DamagedFile(f"cannot read {path}: its first line is damaged; a resumed run mends it")
    try:
        return [
            {name: _value(name, entry) for name, entry in row.items()}
            for row in csv.DictReader(io.StringIO(whole, newline=""), strict=True)
        ]
    except (csv.Error, ValueError, TypeError, AttributeError) as error:
        raise DamagedFile(f"cannot read {path}: {error}; a resumed run mends it") from None


def _value(name: str, text: str) -> Any:
    if name == "split" or text == "":
        return text
    return int(text) if name == "step" else float(text)
