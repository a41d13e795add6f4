"""Evaluate a network that gives boxes: `evaluate` calls it for runs and models of that kind.

Writes scores.csv (COCO's and PASCAL VOC's average precision, of boxes and of masks), classes.csv
and evaluation.json.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from rich.console import Console

from cnn_jax.data import DataConfig, StreamSplit, stream_batches
from cnn_jax.data.objects import ObjectTarget
from cnn_jax.data.splits import Split
from cnn_jax.errors import ConfigError
from cnn_jax.pretrained import Network
from cnn_jax.tasks import Detections, Localization, Truths, box_overlaps, coco_scores, voc_scores
from cnn_jax.tasks.detection import OBJECTS, scored_images
from cnn_jax.tasks.detection_metrics import COCO_SCORES, Of
from experiments.tools.console import progress_bar
from experiments.tools.detector import Arrays, make_detector
from experiments.tools.evaluation_data import Role, load_data
from experiments.tools.evaluation_report import score_table
from experiments.tools.messages import say
from experiments.tools.output import OutputConfig, output_folder, write_csv, writing
from experiments.tools.run_directory import write_json

BATCH_SIZE = 8
"""Images per call of the network."""
RIGHT = 0.5
"""The least overlap of the one box of an image that is right."""
POINTS: dict[str, Literal["all", "11"]] = {"all points": "all", "11 points": "11"}
"""VOC's two ways to the average precision, see `voc_scores`."""

Row = dict[str, Any]


class FoundObjects:
    """The detections and the objects of each image of a split, in its order.

    It can be gone through several times. Masks are made image by image, as they are needed.
    """

    def __init__(self, batches: Sequence[tuple[Arrays, Arrays]]) -> None:
        """Keep what was found and what is there in each batch."""
        self._batches = batches
        self.masks = bool(batches) and all("masks" in found for found, _ in batches)

    def __len__(self) -> int:
        return sum(len(truths["box_labels"]) for _, truths in self._batches)

    def images(self, *, masks: bool = False) -> Iterator[tuple[Detections, Truths]]:
        """What is found and what is there in each image, with its masks or without."""
        for found, truths in self._batches:
            chosen = found if masks else {key: a for key, a in found.items() if key != "masks"}
            yield from scored_images(chosen, truths)


def find_objects(network: Network, split: Split, console: Console) -> FoundObjects:
    """The detections and the objects of each image of a split.

    Args:
        network: from `as_detector`.
        split: examples with `image`, `boxes` and `box_labels`, for masks also `instances`; they are
            seen as they are.
        console: shows a bar.

    Raises:
        ConfigError: images of other channels than the network's; gray ones are taken as RGB.
    """
    detect, seen = make_detector(network), network.preprocessing
    mean, std = np.array(seen.mean, np.float32), np.array(seen.std, np.float32)
    channels = split.spec["image"].shape[-1]
    if channels not in (1, len(mean)):
        raise ConfigError(
            f"{network.title} takes images of {len(mean)} channels, and these have {channels}: name"
            " other data with --data.name"
        )
    if not isinstance(split, StreamSplit):
        examples: Any = split
        split = StreamSplit(examples, np.arange(len(split), dtype=np.int32))
    batches: list[tuple[Arrays, Arrays]] = []
    with progress_bar(console) as progress:
        task = progress.add_task(network.title, total=len(split))
        for batch in stream_batches(split, seed=None, batch_size=min(BATCH_SIZE, len(split))):
            pixels = np.repeat(batch["image"], len(mean) // channels, axis=-1)
            inputs = (pixels.astype(np.float32) / 255 - mean) / std
            found = detect(batch | {"image": inputs})
            there = batch["weight"] > 0
            names = (*OBJECTS, "instances")
            truths = {name: batch[name][there] for name in names if name in batch}
            batches.append(({name: values[there] for name, values in found.items()}, truths))
            progress.advance(task, int(there.sum()))
    return FoundObjects(batches)


def score_rows(objects: FoundObjects) -> list[Row]:
    """COCO's twelve scores and VOC's two, a row for each; then those of masks, if there are any."""
    rows = []
    for of in _compared(objects):
        masks = of == "masks"
        what = "masks, " if masks else ""
        coco = coco_scores(objects.images(masks=masks), of=of)
        rows += [_row(f"{what}COCO {name}", coco[name]) for name in COCO_SCORES]
        for name, points in POINTS.items():
            voc = voc_scores(objects.images(masks=masks), of=of, points=points)
            rows.append(_row(f"{what}VOC mAP, {name}", voc["mAP"]))
    return rows


def _compared(objects: FoundObjects) -> list[Of]:
    return ["boxes", "masks"] if objects.masks else ["boxes"]


def localization_rows(images: Iterable[tuple[Detections, Truths]]) -> list[Row]:
    """How often the class, and class and box, are right, where each image has one of each."""
    pairs = [(found, truth) for found, truth in images if len(truth.labels)]
    right = np.array([found.labels[0] == truth.labels[0] for found, truth in pairs])
    overlap = np.array([box_overlaps(found.boxes, truth.boxes)[0, 0] for found, truth in pairs])
    return [
        _row("class right", right.mean()),
        _row("mean IoU", overlap.mean()),
        _row(f"class right and IoU >= {RIGHT}", (right & (overlap >= RIGHT)).mean()),
    ]


def class_rows(found: FoundObjects, class_names: Sequence[str]) -> list[Row]:
    """COCO's and VOC's average precision of each class, and the number of its objects."""
    scores = {}
    for of in _compared(found):
        masks = of == "masks"
        what = "masks, " if masks else ""
        options: dict[str, Any] = {"of": of, "class_names": class_names}
        scores[f"{what}COCO AP"] = coco_scores(found.images(masks=masks), **options)
        for name, points in POINTS.items():
            voc = voc_scores(found.images(masks=masks), points=points, **options)
            scores[f"{what}VOC AP, {name}"] = voc
    objects = np.zeros(len(class_names), int)
    for _, truth in found.images():
        counted = truth.labels if truth.crowd is None else truth.labels[~truth.crowd]
        objects += np.bincount(counted, minlength=len(objects))
    return [
        {"class": name}
        | {what: _value(one[f"AP/{name}"]) for what, one in scores.items()}
        | {"objects": int(count)}
        for name, count in zip(class_names, objects, strict=True)
    ]


def _row(name: str, value: float) -> Row:
    return {"score": name, "value": _value(value)}


def _value(value: float) -> float | str:
    """The number, or nothing where there is no object of the size or class."""
    return "" if np.isnan(value) else float(value)


def evaluate_boxes(
    network: Network,
    data: DataConfig,
    run: str,
    role: Role,
    output: OutputConfig,
    console: Console,
) -> list[Row]:
    """Evaluate a network, print and write its scores, and return them.

    Sizes of objects are in pixels of the images as the network sees them.

    Args:
        network: from `as_detector`.
        data, run, role: which examples, as `load_data` says.
        output: where the files are written.
        console: to print to.

    Raises:
        ConfigError: as `load_data`; other classes than those of the data set.
    """
    folder = output_folder(output, "evaluate", network.title)
    one_box = isinstance(network.task, Localization)
    with_masks = getattr(network.task, "masks", False)
    target: ObjectTarget = "box" if one_box else "instances" if with_masks else "boxes"
    dataset, split, changed = load_data(data, run, role, target=target)
    for note in (*dataset.notes, *filter(None, [changed])):
        say(console, f"note: {note}")
    if dataset.num_classes != len(network.class_names):
        raise ConfigError(
            f"{network.title} has {len(network.class_names)} classes and {dataset.title} has "
            f"{dataset.num_classes}: expected the same"
        )
    objects = find_objects(network, dataset.splits[split], console)
    scores = score_rows(objects) + (localization_rows(objects.images()) if one_box else [])
    classes = class_rows(objects, dataset.class_names)
    console.print(score_table(f"{dataset.title}, {split}, {len(objects):,} images", scores))
    console.print(score_table(f"{network.title}: its classes", classes))
    about = {"data": dataset.title, "split": split, "network": network.title}
    with writing(folder):
        write_csv(folder / "scores.csv", scores)
        write_csv(folder / "classes.csv", classes)
        content = about | {"images": len(objects), "scores": scores, "classes": classes}
        write_json(folder / "evaluation.json", content)
    say(console, f"see {folder}: scores.csv, classes.csv, evaluation.json")
    return scores
