"""Evaluate a network for segmentation: `evaluate` calls it for runs and models of that kind.

Writes scores.csv (mean IoU and the like as each public convention counts them), classes.csv,
evaluation.json and the confusion matrix.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from rich.console import Console

from cnn_jax.data import IGNORED, DataConfig
from cnn_jax.data.splits import Split
from cnn_jax.errors import ConfigError
from cnn_jax.pretrained import Network
from cnn_jax.tasks import class_overlaps, image_scores, segmentation_scores
from cnn_jax.tasks.segmentation_metrics import Absent, Ignored
from cnn_jax.visual import confusion_matrix, save_figure
from experiments.tools.evaluation_data import Role, load_data
from experiments.tools.evaluation_report import score_table
from experiments.tools.messages import printable, say
from experiments.tools.output import OutputConfig, output_folder, write_csv, writing
from experiments.tools.run_directory import write_json
from experiments.tools.segment import make_segment

CONVENTIONS: dict[str, tuple[bool, Ignored, Absent]] = {
    "one matrix": (False, "leave_out", "leave_out"),
    "one matrix, ignored pixels are wrong": (False, "wrong", "leave_out"),
    "one matrix, absent classes 0": (False, "leave_out", "zero"),
    "mean over images": (True, "leave_out", "leave_out"),
    "mean over images, ignored pixels are wrong": (True, "wrong", "leave_out"),
    "mean over images, absent classes 1": (True, "leave_out", "one"),
}
"""Whether the scores are those of each image, and how ignored pixels and absent classes count; see
`cnn_jax.tasks.segmentation_metrics` for who counts so. The first is that of a run's metrics."""

Counts = Int[np.ndarray, "images rows classes"]


def count_pixels(network: Network, split: Split) -> Counts:
    """The confusion matrix of each image, whose last row holds the ignored pixels.

    Args:
        network: for segmentation, with the classes of the split.
        split: examples with `image` and `mask`; they are segmented at the network's scale.
    """
    segment, classes = make_segment(network), len(network.class_names)
    return np.stack(
        [
            mask_counts(example["mask"], segment(_rgb(example["image"])), classes)
            for example in _examples(split)
        ]
    )


def mask_counts(
    mask: Int[np.ndarray, "height width"], predicted: Int[np.ndarray, "height width"], classes: int
) -> Int[np.ndarray, "rows classes"]:
    """Pixels of each true class (row) by predicted class; the last row is of ignored pixels."""
    true = np.where(mask == IGNORED, classes, mask).astype(np.int64)
    size = (classes + 1) * classes
    return np.bincount((true * classes + predicted).ravel(), minlength=size).reshape(-1, classes)


def scores_by_convention(counts: Counts) -> list[dict[str, Any]]:
    """The scores of a split, a row for each of `CONVENTIONS`."""
    rows: list[dict[str, Any]] = []
    for name, (of_images, ignored, absent) in CONVENTIONS.items():
        score = image_scores if of_images else segmentation_scores
        of_split = counts if of_images else counts.sum(axis=0)
        rows.append({"convention": name, **score(of_split, ignored=ignored, absent=absent)})
    return rows


def evaluate_masks(
    network: Network,
    data: DataConfig,
    run: str,
    role: Role,
    output: OutputConfig,
    console: Console,
) -> list[dict[str, Any]]:
    """Evaluate a network, print and write its scores, and return those by convention.

    Args:
        network: from `as_segmenter`.
        data, run, role: which examples, as `load_data` says.
        output: where the files are written.
        console: to print to.

    Raises:
        ConfigError: as `load_data`; other classes than those of the data set.
    """
    folder = output_folder(output, "evaluate", network.title)
    dataset, split, changed = load_data(data, run, role, target="mask")
    for note in (*dataset.notes, *filter(None, [changed])):
        say(console, f"note: {note}")
    if dataset.num_classes != len(network.class_names):
        raise ConfigError(
            f"{network.title} has {len(network.class_names)} classes and {dataset.title} has "
            f"{dataset.num_classes}: expected the same"
        )
    counts = count_pixels(network, dataset.splits[split])
    rows = scores_by_convention(counts)
    classes = _classes(counts.sum(axis=0), dataset.class_names)
    where = f"{dataset.title}, {split}, {len(counts):,} images"
    console.print(score_table(where, rows))
    console.print(score_table(f"{network.title}: its classes", classes))
    with writing(folder):
        _write(
            folder, network, rows, classes, counts, about={"data": dataset.title, "split": split}
        )
    files = "scores.csv, classes.csv, evaluation.json, confusion.png"
    say(console, f"see {folder}: {files}")
    return rows


def _examples(split: Split) -> Iterator[Mapping[str, Any]]:
    for index in range(len(split)):
        yield split[index]


def _rgb(image: Any) -> np.ndarray:
    return np.repeat(np.asarray(image), 3, axis=-1) if image.shape[-1] == 1 else np.asarray(image)


def _classes(counts: np.ndarray, class_names: Sequence[str]) -> list[dict[str, Any]]:
    overlaps = class_overlaps(counts)
    names = ("iou", "dice", "accuracy")
    return [
        {"class": name}
        | {one: "" if np.isnan(overlaps[one][label]) else overlaps[one][label] for one in names}
        | {"pixels": int(overlaps["support"][label])}
        for label, name in enumerate(class_names)
    ]


def _write(
    folder: Path,
    network: Network,
    rows: Sequence[Mapping[str, Any]],
    classes: Sequence[Mapping[str, Any]],
    counts: Counts,
    *,
    about: dict[str, str],
) -> None:
    write_csv(folder / "scores.csv", rows)
    write_csv(folder / "classes.csv", classes)
    whole = counts.sum(axis=0)
    write_json(
        folder / "evaluation.json",
        about
        | {
            "network": network.title,
            "scores": list(rows),
            "classes": list(classes),
            "confusion": whole.tolist(),
        },
    )
    names = [printable(name) for name in network.class_names]
    title = printable(f"{about['data']}, {about['split']}, pixels")
    save_figure(
        confusion_matrix(whole[:-1], names, title=title),
        folder / "confusion.png",
        heading=printable(network.title),
    )
