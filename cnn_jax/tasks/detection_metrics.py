"""Metrics of detection, on the host in float64: COCO's and PASCAL VOC's average precision.

They go through the images one by one, so that the masks of a generator's images are never all in
memory. Boxes are (x0, y0, x1, y1) in pixels.

Sources: pycocotools, `cocoeval.py`; Everingham et al. 2010, "The PASCAL Visual Object Classes (VOC)
Challenge", section 4.2, and its development kits of 2007 and 2012.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Integer

from cnn_jax.errors import ConfigError
from cnn_jax.tasks.overlaps import Boxes, Masks, Overlaps, box_areas, box_overlaps, mask_overlaps

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""COCO's least overlaps, over which its AP is a mean."""
RECALLS = np.linspace(0.0, 1.0, 101)
"""The recalls at which COCO samples the precision."""
SIZES = {
    "": (0.0, 1e10),
    "_small": (0.0, 32.0**2),
    "_medium": (32.0**2, 96.0**2),
    "_large": (96.0**2, 1e10),
}
"""COCO's ranges of areas, in pixels."""
MOST = (1, 10, 100)
"""The numbers of detections of an image and class for which COCO states the recall."""
COCO_SCORES = (
    *("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"),
    *("AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large"),
)
"""The names of `coco_scores`, in pycocotools' order."""

Of = Literal["boxes", "masks"]


@dataclass(frozen=True)
class Detections:
    """What was found in one image.

    Attributes:
        boxes: in pixels.
        labels: the class of each.
        scores: the larger, the surer. Equal ones keep their order.
        masks: whether a pixel belongs to each; None without.
    """

    boxes: Boxes
    labels: Integer[np.ndarray, " n"]
    scores: Float[np.ndarray, " n"]
    masks: Masks | None = None


@dataclass(frozen=True)
class Truths:
    """The objects of one image.

    Attributes:
        boxes: in pixels.
        labels: the class of each.
        crowd: whether it is a region of several objects (COCO's `iscrowd`) or a difficult object
            (VOC). These need not be found, and what is found there does not count. None has none.
        areas: by which COCO's sizes are told, such as `area` of its annotations. None takes those
            of the boxes, or of the masks where these are compared.
        masks: whether a pixel belongs to each; None without.
    """

    boxes: Boxes
    labels: Integer[np.ndarray, " n"]
    crowd: Bool[np.ndarray, " n"] | None = None
    areas: Float[np.ndarray, " n"] | None = None
    masks: Masks | None = None


Images = Iterable[tuple[Detections, Truths]]
_Objects = TypeVar("_Objects", Detections, Truths)


def coco_scores(
    images: Images, *, of: Of = "boxes", class_names: Sequence[str] = ()
) -> dict[str, float]:
    """COCO's average precision and recall, as `pycocotools.cocoeval.COCOeval`.

    Args:
        images: detections and objects of each image, in a fixed order: it decides between equal
            scores.
        of: whether the overlaps of boxes or of masks count.
        class_names: names by which there is also the AP of each class, such as `AP/car`.

    Returns:
        The scores `COCO_SCORES`, in [0, 1]; NaN where there is no object of the size or class.

    Raises:
        ConfigError: masks are to be compared, and an image has none.
    """
    parts: dict[int, list[_Matched]] = {}
    for found, truths in images:
        for label in np.unique([*found.labels, *truths.labels]).tolist():
            matched = _match(_of_class(found, label), _of_class(truths, label), of)
            parts.setdefault(int(label), []).append(matched)
    measured = {label: _measure(matched) for label, matched in sorted(parts.items())}
    shape = (len(measured), len(SIZES), len(THRESHOLDS))
    precision = np.array([one for one, _ in measured.values()]).reshape(shape)
    recall = np.array([one for _, one in measured.values()]).reshape(-1, len(MOST), *shape[1:])
    scores = {"AP50": precision[:, 0, 0], "AP75": precision[:, 0, 5]}
    for i, size in enumerate(SIZES):
        scores[f"AP{size}"], scores[f"AR{size}"] = precision[:, i], recall[:, -1, i]
    for i, most in enumerate(MOST):
        scores[f"AR{most}"] = recall[:, i, 0]
    for label, name in enumerate(class_names):
        scores[f"AP/{name}"] = measured[label][0][0] if label in measured else np.zeros(0)
    names = (*COCO_SCORES, *(f"AP/{name}" for name in class_names))
    return {name: _mean(scores[name]) for name in names}


def _mean(values: Float[np.ndarray, "..."]) -> float:
    """The mean of the values that are there; NaN if none is."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if there.size else math.nan


@dataclass(frozen=True)
class _Matched:
    """The detections of an image and a class, from the surest, and what they were matched with.

    Attributes:
        scores: of the detections.
        matched: whether an object was found, for each range of areas and least overlap.
        counted: whether the detection counts.
        totals: the number of objects that count, for each range of areas.
    """

    scores: Float[np.ndarray, " n"]
    matched: Bool[np.ndarray, "sizes thresholds n"]
    counted: Bool[np.ndarray, "sizes thresholds n"]
    totals: Integer[np.ndarray, " sizes"]


def _match(found: Detections, truths: Truths, of: Of) -> _Matched:
    found = _rows(found, np.argsort(-found.scores, kind="stable")[: MOST[-1]])
    crowd = _crowd(truths)
    overlaps = _overlaps(found, truths, of, crowd)
    areas, true_areas = _areas(found, of), _areas(truths, of)
    if truths.areas is not None:
        true_areas = truths.areas
    low, high = np.array(list(SIZES.values())).T[..., None]
    ignored = (crowd | (true_areas < low) | (true_areas > high))[:, None]

    shape = (len(SIZES), len(THRESHOLDS))
    taken = np.zeros((*shape, len(crowd)), bool)
    matched, on_ignored = np.zeros((2, *shape, len(areas)), bool)
    for i, overlap in enumerate(overlaps if len(crowd) else ()):
        free = (overlap >= np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]) & (~taken | crowd)
        # An object that counts goes before one that does not. Of equal overlaps the last one wins.
        first = free & ~ignored
        allowed = np.where(first.any(axis=-1, keepdims=True), first, free)
        value = np.where(allowed, overlap, -1.0)
        best = len(crowd) - 1 - np.argmax(value[..., ::-1], axis=-1)[..., None]
        matched[..., i] = free.any(axis=-1)
        on_ignored[..., i] = free.any(axis=-1) & ~first.any(axis=-1)
        chosen = np.arange(len(crowd)) == best
        taken |= chosen & free
    outside = ((areas < low) | (areas > high))[:, None]
    counted = ~on_ignored & (matched | ~outside)
    totals = np.count_nonzero(~ignored[:, 0], axis=1)
    return _Matched(found.scores, matched, counted, totals)


def _rows(one: _Objects, rows: np.ndarray) -> _Objects:
    """Some of the detections or objects."""
    chosen: dict[str, Any] = {
        key: value if value is None else value[rows] for key, value in vars(one).items()
    }
    return replace(one, **chosen)


def _of_class(one: _Objects, label: int) -> _Objects:
    return _rows(one, one.labels == label)


def _crowd(truths: Truths) -> Bool[np.ndarray, " n"]:
    return np.zeros(len(truths.labels), bool) if truths.crowd is None else truths.crowd


def _areas(one: Detections | Truths, of: Of) -> Float[np.ndarray, " n"]:
    if of == "boxes":
        return box_areas(one.boxes)
    return _masks(one).sum(axis=(1, 2), dtype=np.float64)


def _overlaps(
    found: Detections, truths: Truths, of: Of, crowd: Bool[np.ndarray, " truths"] | None
) -> Overlaps:
    if of == "boxes":
        return box_overlaps(found.boxes, truths.boxes, crowd)
    return mask_overlaps(_masks(found), _masks(truths), crowd)


def _masks(one: Detections | Truths) -> Masks:
    if one.masks is None:
        raise ConfigError("scores of masks need the masks of all detections and objects")
    return one.masks


def _measure(
    parts: Sequence[_Matched],
) -> tuple[Float[np.ndarray, "sizes thresholds"], Float[np.ndarray, "most sizes thresholds"]]:
    """Average precision, and recall for each of `MOST`, of a class; NaN without an object."""
    totals = np.sum([part.totals for part in parts], axis=0)[:, None]
    total = np.where(totals > 0, totals, np.nan)
    recalls = []
    for most in MOST:
        found = [(part.matched & part.counted)[..., :most].sum(axis=-1) for part in parts]
        recalls.append(np.sum(found, axis=0) / total)
    order = np.argsort(-np.concatenate([part.scores for part in parts]), kind="stable")
    matched, counted = (
        np.concatenate([getattr(part, name) for part in parts], axis=-1)[..., order]
        for name in ("matched", "counted")
    )
    precision = np.full(total.shape[:1] + THRESHOLDS.shape, np.nan)
    for size, threshold in np.ndindex(*precision.shape):
        if totals[size] > 0:
            right, all_counted = matched[size, threshold], counted[size, threshold]
            recall, envelope = _curve(right & all_counted, all_counted, int(totals[size, 0]))
            places = np.searchsorted(recall, RECALLS)
            precision[size, threshold] = np.append(envelope, 0.0)[places].mean()
    return precision, np.array(recalls)


def _curve(
    right: Bool[np.ndarray, " n"], counted: Bool[np.ndarray, " n"], total: int
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Recall, and the largest precision at this recall or more, after each detection."""
    found = np.cumsum(right)
    precision = found / np.maximum(np.cumsum(counted), 1)
    return found / total, np.maximum.accumulate(precision[::-1])[::-1]


def voc_scores(
    images: Images,
    *,
    of: Of = "boxes",
    overlap: float = 0.5,
    points: Literal["all", "11"] = "all",
    class_names: Sequence[str] = (),
) -> dict[str, float]:
    """PASCAL VOC's average precision, as its development kit (`VOCevaldet.m`).

    Each detection, from the surest of all images, is compared with the object of its class that
    it overlaps most. It is right if this is `overlap` or more and the object was not found before.
    The kit counts a box's last pixel in its area; here boxes end where they end.

    Args:
        images: detections and objects of each image, in a fixed order.
        of: whether the overlaps of boxes or of masks count.
        overlap: the least intersection over union.
        points: "all" is the area under the curve (from 2010), "11" the mean at the recalls 0, 0.1,
            …, 1 (until 2009).
        class_names: names by which there is also the AP of each class, such as `AP/car`.

    Returns:
        `mAP`, the mean over the classes that have objects, in [0, 1]; NaN if none has.

    Raises:
        ConfigError: masks are to be compared, and an image has none.
    """
    rows: dict[int, list[tuple[float, bool, bool]]] = {}
    totals: dict[int, int] = {}
    for found, truths in images:
        for label in np.unique([*found.labels, *truths.labels]).astype(int).tolist():
            these, objects = _of_class(found, label), _of_class(truths, label)
            totals[label] = totals.get(label, 0) + int(np.count_nonzero(~_crowd(objects)))
            rows.setdefault(label, []).extend(_voc_rows(these, objects, of, overlap))
    average = {}
    for label, total in totals.items():
        scores, right, counted = np.array(rows[label], np.float64).reshape(-1, 3).T
        order = np.argsort(-scores, kind="stable")
        if total:
            curve = _curve((right * counted)[order] > 0, counted[order] > 0, total)
            average[label] = _eleven_points(*curve) if points == "11" else _area(*curve)
    of_class = {f"AP/{name}": average.get(i, math.nan) for i, name in enumerate(class_names)}
    return {"mAP": _mean(np.array([*average.values()])), **of_class}


def _voc_rows(
    found: Detections, truths: Truths, of: Of, least: float
) -> list[tuple[float, bool, bool]]:
    """The score of each detection, whether it is right, and whether it counts."""
    found = _rows(found, np.argsort(-found.scores, kind="stable"))
    crowd, taken, rows = _crowd(truths), set(), []
    for score, overlap in zip(found.scores, _overlaps(found, truths, of, None), strict=True):
        best = int(np.argmax(overlap)) if len(overlap) else -1
        near = best >= 0 and bool(overlap[best] >= least)
        rows.append((float(score), near and best not in taken, not (near and bool(crowd[best]))))
        taken |= {best} if near else set()
    return rows


def _area(recall: Float[np.ndarray, " n"], precision: Float[np.ndarray, " n"]) -> float:
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def _eleven_points(recall: Float[np.ndarray, " n"], precision: Float[np.ndarray, " n"]) -> float:
    places = np.searchsorted(recall, np.arange(11) / 10)
    return float(np.append(precision, 0.0)[places].mean())
