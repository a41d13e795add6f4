"""The figures of all segmentation experiments."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

from cnn_jax.data import IGNORED
from cnn_jax.tasks import class_overlaps, segmentation_scores
from cnn_jax.training import Result
from cnn_jax.visual import (
    SegmentedImage,
    accuracy_over_distance,
    class_scores,
    compared_curves,
    confusion_matrix,
    segmentation_rows,
    training_curves,
)
from experiments.tools.evaluate_masks import mask_counts

SHOWN = 4
"""Number of images of a run whose masks are drawn."""
COMPARED = 3
"""Number of images of a study whose masks are drawn."""
DISTANCES = (1, 2, 4, 8, 16, 32)
"""Distances from a border, in pixels, within which the accuracy is measured."""
PART = 3
"""A part of an image whose borders are drawn has this share of its height and width."""

Counts = Int[np.ndarray, "rows classes"]


def segmentation_figures() -> dict[str, Callable[[Result], Any]]:
    """Curves, segmented images, scores of each class and confusion matrix, by file name."""
    return {
        "curves": lambda result: training_curves(result.rows, title=_title(result, "training")),
        "segmentations": _segmentations,
        "classes": _classes,
        "confusion": _confusion,
    }


def study_figures(results: Mapping[str, Result], *, what: str) -> dict[str, Any]:
    """What compares networks: curves, accuracy near borders, segmented images and their borders.

    Args:
        results: of runs on the same data, by the names of the networks.
        what: the kind of the networks, for titles.
    """
    first = next(iter(results.values()))
    split, title = first.held_out, f"{first.experiment.dataset.title}, {first.held_out}: {what}"
    scores = {name: result.summary[split]["mean_iou"] for name, result in results.items()}
    rows = {f"{name}: {100 * scores[name]:.1f}%": one.rows for name, one in results.items()}
    chosen = _spread(np.array([_mean_iou(one) for one in _counts_by_image(first)]), COMPARED)
    whole = [_segmented(index, results, "") for index in chosen]
    class_names = first.experiment.dataset.class_names
    return {
        "mean_iou": compared_curves(
            rows, ("loss", "mean_iou"), title=f"{title}, mean IoU in the legend"
        ),
        "borders": accuracy_over_distance(
            DISTANCES,
            {name: _accuracy_near_borders(result) for name, result in results.items()},
            title=f"{title}, pixels near a border between two classes",
        ),
        "segmentations": segmentation_rows(whole, class_names, title=title),
        "boundaries": segmentation_rows(
            [_part(one) for one in whole],
            class_names,
            title=f"{title}, parts of the images with most borders",
            outlines=True,
        ),
    }


def border_pixels(mask: Int[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Whether a pixel has a neighbour to the right, left, top or bottom of another class."""
    border = np.zeros(mask.shape, bool)
    counts = mask != IGNORED
    for axis in (0, 1):
        ahead = [slice(None), slice(None)]
        behind = [slice(None), slice(None)]
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        a, b = tuple(ahead), tuple(behind)
        differ = (mask[a] != mask[b]) & counts[a] & counts[b]
        border[a] |= differ
        border[b] |= differ
    return border


def _segmentations(result: Result) -> Any:
    """Images from the worst to the best."""
    ious = np.array([_mean_iou(counts) for counts in _counts_by_image(result)])
    chosen = _spread(ious, SHOWN)
    images = [
        _segmented(index, {"prediction": result}, f"mean IoU {100 * ious[index]:.1f}%")
        for index in chosen
    ]
    title = f"{_title(result, result.held_out)}, images from the worst to the best"
    return segmentation_rows(images, result.experiment.dataset.class_names, title=title)


def _classes(result: Result) -> Any:
    counts = np.sum(_counts_by_image(result), axis=0)
    overlaps = class_overlaps(counts)
    mean = segmentation_scores(counts)["mean_iou"]
    support = overlaps["support"]
    return class_scores(
        result.experiment.dataset.class_names,
        {name: overlaps[name.lower()].tolist() for name in ("IoU", "Dice", "accuracy")},
        shares=(support / max(support.sum(), 1)).tolist(),
        title=f"{_title(result, result.held_out)}, mean IoU {100 * mean:.2f}%",
    )


def _confusion(result: Result) -> Any:
    counts = np.sum(_counts_by_image(result), axis=0)[:-1]
    title = f"{_title(result, result.held_out)}, pixels"
    return confusion_matrix(counts, result.experiment.dataset.class_names, title=title)


def _counts_by_image(result: Result) -> list[Counts]:
    """The confusion matrix of each image, with a last row for ignored pixels."""
    classes = result.experiment.dataset.num_classes
    outputs = result.outputs(result.held_out)
    return [mask_counts(*one, classes) for one in zip(_truths(result), outputs, strict=True)]


def _mean_iou(counts: Counts) -> float:
    return segmentation_scores(counts)["mean_iou"]


def _spread(scores: Float[np.ndarray, " images"], count: int) -> list[int]:
    """Places from the lowest to the highest score, in equal steps of the ranks."""
    order = np.argsort(scores, kind="stable")
    places = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return order[places].tolist()


def _truths(result: Result) -> list[np.ndarray]:
    split = result.experiment.dataset.splits[result.held_out]
    return [np.asarray(split[index]["mask"]) for index in range(len(split))]


def _segmented(index: int, results: Mapping[str, Result], caption: str) -> SegmentedImage:
    first = next(iter(results.values()))
    example = first.experiment.dataset.splits[first.held_out][index]
    predictions = {name: one.outputs(one.held_out)[index] for name, one in results.items()}
    image, mask = np.asarray(example["image"]), np.asarray(example["mask"])
    return SegmentedImage(image, mask, predictions, caption)


def _part(one: SegmentedImage) -> SegmentedImage:
    """The part of an image with the most border pixels."""
    assert one.truth is not None
    height, width = (max(1, size // PART) for size in one.truth.shape)
    borders = border_pixels(np.asarray(one.truth)).astype(np.float64)
    # The mean around each pixel; only where the part lies within the image.
    means = ndimage.uniform_filter(borders, (height, width), mode="constant")
    top, left = np.unravel_index(
        np.argmax(
            means[
                height // 2 : height // 2 + borders.shape[0] - height + 1,
                width // 2 : width // 2 + borders.shape[1] - width + 1,
            ]
        ),
        (borders.shape[0] - height + 1, borders.shape[1] - width + 1),
    )
    rows, columns = slice(top, top + height), slice(left, left + width)
    predictions = {name: mask[rows, columns] for name, mask in one.predictions.items()}
    return SegmentedImage(one.image[rows, columns], one.truth[rows, columns], predictions)


def _accuracy_near_borders(result: Result) -> list[float]:
    """The share of right pixels within each of `DISTANCES` from a border, of all images."""
    right, there = np.zeros(len(DISTANCES)), np.zeros(len(DISTANCES))
    for mask, predicted in zip(_truths(result), result.outputs(result.held_out), strict=True):
        border = border_pixels(mask)
        if not border.any():
            continue
        # A border pixel has the distance 1/2 from the border itself.
        distance = ndimage.distance_transform_edt(~border) + 0.5
        for place, limit in enumerate(DISTANCES):
            near = (distance <= limit) & (mask != IGNORED)
            there[place] += np.sum(near)
            right[place] += np.sum(near & (predicted == mask))
    return (right / np.maximum(there, 1)).tolist()


def _title(result: Result, what: str) -> str:
    return f"{result.experiment.dataset.title}, {what}"
