"""Metrics of segmentation, all from one matrix of pixel counts.

Matrices of batches and devices add up exactly. Published figures differ by points through three
choices alone. The first two are arguments here:

- Ignored pixels. "leave_out" counts only pixels that have a class: PASCAL VOC, Cityscapes, ADE20K,
  mmsegmentation and torchvision's references. "wrong" also counts a prediction on an ignored pixel
  as a false positive of its class, as code does that keeps "void" as a class of the labels and
  averages over the others.
- Absent classes, of which there is neither a label nor a prediction, so that their overlap is 0/0.
  "leave_out" averages over the other classes: FCN's score.py (`np.nanmean`), Cityscapes' scripts,
  mmsegmentation and Keras. "zero" is scikit-learn's default (`zero_division=0`), "one" its
  `zero_division=1`. A class that is predicted but has no label has the overlap 0 in all of them.

- One matrix of the whole split, `segmentation_scores`: PASCAL VOC, Cityscapes, FCN, SegNet and
  mmsegmentation. The mean over images of their own scores, `image_scores`: Csurka et al. 2013, and
  segmentation_models_pytorch with `reduction="macro-imagewise"`. Small objects and rare classes
  count more in it, and it depends much on how absent classes count.
"""

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Real

from cnn_jax.tasks.labels import ClassOutputs, check_labels, counted
from cnn_jax.tasks.output_layers import decision

Ignored = Literal["leave_out", "wrong"]
Absent = Literal["leave_out", "zero", "one"]
Counts = Real[Array | np.ndarray, "rows classes"]
PerClass = Float[np.ndarray, " classes"]


def pixel_counts(
    outputs: ClassOutputs,
    labels: Int[Array, "batch *space"],
    weight: Float[Array, " batch"] | None = None,
    *,
    ignore_index: int | None = None,
) -> Int[Array, "rows classes"]:
    """Number of pixels of each true class (row) by predicted class (column), as int32.

    The last row, after those of the classes, holds the ignored pixels.

    Args:
        outputs: for all classes; the largest is the prediction.
        labels: the class of each pixel.
        weight: examples of weight 0 do not count; None counts all.
        ignore_index: the label of ignored pixels; None has none.

    Raises:
        ConfigError: labels that do not belong to the outputs.
    """
    check_labels(outputs, labels, ignore_index)
    classes = outputs.shape[-1]
    true = jnp.where(counted(labels, ignore_index), labels, classes)
    bins = true * classes + decision(outputs)
    # A label that is no class is in no bin, as well as the pixels of padding.
    wrong, size = (true < 0) | (true > classes), (classes + 1) * classes
    if weight is not None:
        wrong |= (weight <= 0).reshape(-1, *[1] * (labels.ndim - 1))
    bins = jnp.where(wrong, size, bins)
    counts = jnp.zeros(size, jnp.int32).at[bins.ravel()].add(1, mode="drop")
    return counts.reshape(classes + 1, classes)


def class_overlaps(
    counts: Counts, *, ignored: Ignored = "leave_out", absent: Absent = "leave_out"
) -> dict[str, PerClass]:
    """Overlap of labels and predictions of each class, from added-up `pixel_counts`.

    Args:
        counts: the matrix.
        ignored, absent: see above; with "leave_out" an absent class is NaN.

    Returns:
        By class: `iou`, the intersection over the union (Jaccard); `dice`, twice the intersection
        over the sum of both (F1); `accuracy`, the share of its pixels that are found (recall);
        `support`, the number of its pixels.
    """
    counts = np.asarray(counts, np.float64)
    inside = counts[:-1]
    found, support = np.diag(inside), inside.sum(axis=1)
    predicted = (inside if ignored == "leave_out" else counts).sum(axis=0)
    fill = {"leave_out": np.nan, "zero": 0.0, "one": 1.0}[absent]

    def share(part: PerClass, whole: PerClass) -> PerClass:
        return np.where(whole > 0, part / np.maximum(whole, 1), fill)

    return {
        "iou": share(found, support + predicted - found),
        "dice": share(2 * found, support + predicted),
        "accuracy": share(found, support),
        "support": support,
    }


def segmentation_scores(
    counts: Counts, *, ignored: Ignored = "leave_out", absent: Absent = "leave_out"
) -> dict[str, float]:
    """The metrics of a split, from added-up `pixel_counts`; 0 where no pixel counts.

    They are those of FCN (Long et al. 2015, section 5), and the mean Dice coefficient.

    Args:
        counts: the matrix.
        ignored, absent: see above. `mean_accuracy` leaves out every class without labels for
            "leave_out".

    Returns:
        `pixel_accuracy`, the share of pixels that are right; `mean_accuracy`, `mean_iou` and
        `mean_dice`, the means over classes; `frequency_weighted_iou`, the mean weighted by the
        number of labels.
    """
    counts = np.asarray(counts, np.float64)
    of_class = class_overlaps(counts, ignored=ignored, absent=absent)
    support = of_class["support"]
    pixels = np.sum(counts if ignored == "wrong" else counts[:-1])
    weighted = np.sum(support * np.where(support > 0, of_class["iou"], 0))
    return {
        "pixel_accuracy": _share(np.trace(counts), pixels),
        "mean_accuracy": _mean(of_class["accuracy"]),
        "mean_iou": _mean(of_class["iou"]),
        "frequency_weighted_iou": _share(weighted, support.sum()),
        "mean_dice": _mean(of_class["dice"]),
    }


def image_scores(
    counts: Real[Array | np.ndarray, "images rows classes"],
    *,
    ignored: Ignored = "leave_out",
    absent: Absent = "leave_out",
) -> dict[str, float]:
    """The means over images of the `segmentation_scores` of each.

    Args:
        counts: `pixel_counts` of each image. Those without any pixel that counts are left out.
        ignored, absent: as in `segmentation_scores`.
    """
    counted_images = [one for one in np.asarray(counts, np.float64) if one[:-1].any()]
    scores = [segmentation_scores(one, ignored=ignored, absent=absent) for one in counted_images]
    names = segmentation_scores(np.zeros(np.shape(counts)[1:]))
    return {name: _mean(np.array([one[name] for one in scores])) for name in names}


def _mean(values: PerClass) -> float:
    """The mean of all values that are not NaN."""
    there = values[~np.isnan(values)]
    return _share(there.sum(), there.size)


def _share(part: float, whole: float) -> float:
    return float(part) / float(max(whole, 1))
