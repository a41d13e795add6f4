"""The figures of experiments on detection, of boxes and of instances."""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np

from cnn_jax.tasks import Detections, Truths, box_overlaps, mask_overlaps
from cnn_jax.tasks.detection import OBJECTS, scored_images
from cnn_jax.training import Result
from cnn_jax.visual import (
    BoxedImage,
    InstanceImage,
    box_grid,
    class_scores,
    instance_rows,
    training_curves,
)

BOXES_SHOWN, INSTANCES_SHOWN = 12, 8
"""Number of images that are drawn, with boxes or with masks."""
SURE = 0.5
"""Least score of what is drawn."""
RIGHT = 0.5
"""Least overlap of a box or mask that is right."""

Figures = dict[str, Callable[[Result], Any]]


def detection_figures() -> Figures:
    """Curves, images with boxes, and the average precision of each class, by file name."""
    return {"curves": _curves, "boxes": _boxes, "classes": lambda result: _classes(result, "AP")}


def instance_figures() -> Figures:
    """Curves, images with masks, and the masks' average precision of each class, by file name."""
    return {
        "curves": _curves,
        "instances": _instances,
        "classes": lambda result: _classes(result, "mask_AP"),
    }


def rightly_found(found: Detections, truth: Truths, of: Literal["boxes", "masks"] = "boxes") -> int:
    """How many objects have a box, or mask, of their class with an overlap of 1/2 or more.

    Each has its own; they choose in the order of their scores.
    """
    if of == "boxes":
        overlaps = box_overlaps(found.boxes, truth.boxes)
    else:
        assert found.masks is not None and truth.masks is not None
        overlaps = mask_overlaps(found.masks, truth.masks)
    overlaps[found.labels[:, None] != truth.labels[None, :]] = 0
    number = 0
    for row in overlaps:
        if len(row) and row.max() >= RIGHT:
            number += 1
            overlaps[:, row.argmax()] = 0
    return number


def _curves(result: Result) -> Any:
    return training_curves(result.rows, title=f"{result.experiment.dataset.title}, training")


def _boxes(result: Result) -> Any:
    dataset, images = result.experiment.dataset, []
    split = dataset.splits[result.held_out]
    for index, (found, truth), caption in _from_worst_to_best(result, "boxes", BOXES_SHOWN):
        image = np.asarray(split[index]["image"])
        images.append(BoxedImage(image, truth.boxes, found.boxes, caption))
    ap = result.summary[result.held_out]["AP50"]
    title = f"{dataset.title}, {result.held_out}: AP50 {ap:.3f}, boxes with a score of {SURE}"
    return box_grid(images, title=title, columns=4)


def _instances(result: Result) -> Any:
    dataset, images = result.experiment.dataset, []
    split = dataset.splits[result.held_out]
    for index, (found, truth), caption in _from_worst_to_best(result, "masks", INSTANCES_SHOWN):
        image = np.asarray(split[index]["image"])
        assert found.masks is not None and truth.masks is not None
        images.append(InstanceImage(image, truth.masks, found.masks, caption))
    ap = result.summary[result.held_out]["mask_AP50"]
    title = f"{dataset.title}, {result.held_out}: mask AP50 {ap:.3f}, masks with a score of {SURE}"
    return instance_rows(images, title=title)


def _classes(result: Result, score: str) -> Any:
    dataset, scores = result.experiment.dataset, result.summary[result.held_out]
    what = score.replace("_", " ")
    return class_scores(
        dataset.class_names,
        {what: [scores[f"{score}/{name}"] for name in dataset.class_names]},
        title=f"{dataset.title}, {result.held_out}: {what} {scores[score]:.3f} (COCO's)",
    )


def _from_worst_to_best(
    result: Result, of: Literal["boxes", "masks"], shown: int
) -> list[tuple[int, tuple[Detections, Truths], str]]:
    """Images from the largest to the smallest share of errors, in equal steps of the ranks.

    Of each its number, what is found with a score of `SURE` and what is there, and a caption.
    """
    shares, captions = [], []
    for found, truth in _sure(result):
        objects, right = len(truth.boxes), rightly_found(found, truth, of)
        wrong, missed = len(found.boxes) - right, objects - right
        shares.append((wrong + missed) / max(wrong + missed + right, 1))
        captions.append(f"{right} of {objects} found\n{wrong} wrong")
    ranks = np.linspace(0, len(shares) - 1, min(shown, len(shares))).round().astype(int)
    chosen = np.argsort(-np.array(shares), kind="stable")[ranks].tolist()
    # Once more, because the masks of all images may not fit into memory.
    pairs = {number: pair for number, pair in enumerate(_sure(result)) if number in set(chosen)}
    return [(number, pairs[number], captions[number]) for number in chosen]


def _sure(result: Result) -> Iterator[tuple[Detections, Truths]]:
    """What is found with a score of `SURE`, and what is there, in each held-out image."""
    dataset = result.experiment.dataset
    split = dataset.splits[result.held_out]
    names = [name for name in (*OBJECTS, "instances") if name in dataset.spec]
    examples = [split[index] for index in range(len(split))]
    truths = {name: np.stack([np.asarray(one[name]) for one in examples]) for name in names}
    for found, truth in scored_images(result.outputs(result.held_out), truths):
        sure = found.scores >= SURE
        masks = None if found.masks is None else found.masks[sure]
        found = Detections(found.boxes[sure], found.labels[sure], found.scores[sure], masks)
        yield found, truth
