"""The results of an evaluation as tables, files and figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.markup import escape
from rich.table import Table

from cnn_jax.tasks import class_scores
from cnn_jax.visual import confusion_matrix, save_figure
from experiments.tools.messages import printable
from experiments.tools.output import slug, write_csv
from experiments.tools.run_directory import write_json

SHOWN = 20
"""Largest number of classes in a table. The files contain all classes."""


@dataclass(frozen=True)
class Row:
    """Measurements of one network on one split, in percent except for the loss.

    Attributes:
        title: of the network.
        class_names: by label.
        counts: examples of each class (row) by predicted class (column).
        loss: cross entropy of the softmax.
        top1: accuracy.
        top5: share of the examples whose class is among the five most probable ones.
        published1: published accuracy on ImageNet, if there is one.
        published5: the same for `top5`.
        note: how the classes were matched, if it needs to be said.
    """

    title: str
    class_names: tuple[str, ...]
    counts: Float[np.ndarray, "classes classes"]
    loss: float
    top1: float
    top5: float
    published1: float | None = None
    published5: float | None = None
    note: str = ""

    @property
    def examples(self) -> int:
        return int(self.counts.sum())

    @property
    def classes(self) -> list[dict[str, Any]]:
        """Precision, recall, F1 and support of each class."""
        scores = {name: values.tolist() for name, values in class_scores(self.counts).items()}
        return [
            {
                "class": name,
                "precision": scores["precision"][label],
                "recall": scores["recall"][label],
                "f1": scores["f1"][label],
                "support": int(scores["support"][label]),
            }
            for label, name in enumerate(self.class_names)
        ]

    @property
    def summary(self) -> dict[str, Any]:
        """The measurements that are one number."""
        names = ("examples", "loss", "top1", "top5", "published1", "published5", "note")
        return {"network": self.title} | {name: getattr(self, name) for name in names}


def network_table(rows: Sequence[Row], title: str) -> Table:
    """A table with one row per network, published accuracies last if there are any."""
    shown = Table(title=escape(printable(title)), title_justify="left")
    shown.add_column("network", overflow="fold")
    published = any(row.published1 is not None for row in rows)
    headings = ("cross entropy", "top-1", "top-5")
    for heading in (*headings, *(("published top-1", "published top-5") if published else ())):
        shown.add_column(heading, justify="right")
    for row in rows:
        others = (row.published1, row.published5) if published else ()
        shown.add_row(
            escape(printable(row.title)),
            f"{row.loss:.4f}",
            f"{row.top1:.3f}%",
            f"{row.top5:.3f}%",
            *("" if value is None else f"{value:.3f}%" for value in others),
        )
    return shown


def class_table(row: Row) -> Table:
    """A table with one row per class; of many classes, those with the lowest F1."""
    classes, what = row.classes, "its classes"
    if len(classes) > SHOWN:
        what = f"the {SHOWN} of its {len(classes)} classes with the lowest F1"
        classes = sorted(classes, key=lambda one: one["f1"])[:SHOWN]
    title = escape(printable(f"{row.title}: {what}"))
    shown = Table(title=title, title_justify="left")
    shown.add_column("class", overflow="fold")
    for heading in ("precision", "recall", "F1", "support"):
        shown.add_column(heading, justify="right")
    for one in classes:
        shares = (f"{one[name]:.4f}" for name in ("precision", "recall", "f1"))
        shown.add_row(escape(printable(one["class"])), *shares, f"{one['support']:,}")
    return shown


def score_table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """A table of rows with the same columns: a name, then shares and counts; "" is left empty."""
    shown = Table(title=escape(printable(title)), title_justify="left")
    first, *others = rows[0]
    shown.add_column(first, overflow="fold")
    for name in others:
        shown.add_column(name.replace("_", " "), justify="right")
    for row in rows:
        texts = (_text(row[name]) for name in others)
        shown.add_row(escape(printable(row[first])), *texts)
    return shown


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{100 * value:.2f}%"
    return "" if value == "" else f"{value:,}"


def write(folder: Path, rows: Sequence[Row], *, data: str, split: str) -> list[str]:
    """Write the results of all networks; returns the names of the files."""
    write_csv(folder / "networks.csv", [row.summary for row in rows])
    classes = [{"network": row.title} | one for row in rows for one in row.classes]
    write_csv(folder / "classes.csv", classes)
    networks = [
        row.summary | {"classes": row.classes, "confusion": row.counts.astype(int).tolist()}
        for row in rows
    ]
    about = {"data": data, "split": split, "networks": networks}
    write_json(folder / "evaluation.json", about)
    figures = []
    for row in rows:
        name = "confusion.png" if len(rows) == 1 else f"confusion-{slug(row.title)}.png"
        names = [printable(name) for name in row.class_names]
        figure = confusion_matrix(row.counts, names, title=printable(f"{data}, {split}"))
        save_figure(figure, folder / name, heading=printable(row.title))
        figures.append(name)
    return ["networks.csv", "classes.csv", "evaluation.json", *figures]
