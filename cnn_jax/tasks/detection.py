"""Detection in one stage: boxes and classes of all objects, from anchors."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree, Shaped

from cnn_jax.errors import ConfigError
from cnn_jax.layers import box_giou, decode_boxes, encode_boxes, match_anchors, pairwise_iou
from cnn_jax.layers.matching import BETWEEN
from cnn_jax.tasks.apply import (
    Spec,
    apply_model,
    check_loss,
    check_outputs,
    init_model,
    predict_model,
)
from cnn_jax.tasks.detection_metrics import Detections, Truths, coco_scores
from cnn_jax.tasks.detections import PaddedDetections, detections_of_anchors
from cnn_jax.tasks.losses import sigmoid_focal_loss
from cnn_jax.tasks.metrics import mean, weighted_sums
from cnn_jax.tasks.pasting import MASK_THRESHOLD, paste_masks

BoxLoss = Literal["l1", "giou"]
OBJECTS = ("boxes", "box_labels", "crowd_labels", "areas")
"""The entries of an example that say what is there."""
LOSSES = ("loss", "classification_loss", "box_loss")
SCORES = ("AP", "AP50", "AP75", "AR100")
"""Those of `coco_scores` that are metrics."""


@dataclass(frozen=True)
class DetectorTask:
    """What tasks of detection share: a model, and metrics of all that is found in a split.

    The metrics are the losses, COCO's average precision and recall, and the AP of each class.
    """

    model: nn.Module
    class_names: tuple[str, ...] = field(default=(), kw_only=True)

    higher_is_better: ClassVar[bool] = True

    @property
    def best_metric(self) -> str:
        """The metric that decides."""
        return "AP"

    @property
    def losses(self) -> tuple[str, ...]:
        """Names of the metrics that are losses."""
        return LOSSES

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics."""
        return (*self.losses, *SCORES, *(f"AP/{name}" for name in self.class_names))

    def init(self, key: Key[Array, ""], spec: Spec) -> tuple[PyTree, PyTree]:
        """Fresh ``(params, model_state)`` for examples of a spec."""
        return init_model(self.model, key, spec)

    def predict(
        self, params: PyTree, model_state: PyTree, batch: dict[str, Array]
    ) -> dict[str, Array]:
        """The `PaddedDetections` of every image."""
        raise NotImplementedError

    def summarize(self, sums: dict[str, Any]) -> dict[str, float]:
        """Mean losses from added-up sums."""
        return {name: mean(sums[name], sums["weight"]) for name in self.losses}

    def rows(
        self, params: PyTree, model_state: PyTree, batch: dict[str, Array]
    ) -> dict[str, dict[str, Array]]:
        """The detections and the objects of every image, for `measure`."""
        truths = {name: batch[name] for name in OBJECTS if name in batch}
        return {"found": self.predict(params, model_state, batch), "truths": truths}

    def measure(self, rows: dict[str, dict[str, np.ndarray]]) -> dict[str, float]:
        """Average precision and recall of a whole split."""
        scores = coco_scores(scored_images(**rows), class_names=self.class_names)
        return {name: scores[name] for name in self.metrics if name in scores}


@dataclass(frozen=True)
class Detection(DetectorTask):
    """Train a RetinaNet with the focal loss, as torchvision does.

    ``batch["boxes"]`` [batch, most, 4] are the objects' boxes in pixels, ``batch["box_labels"]``
    [batch, most] their classes, -1 for padding. ``batch["size"]`` [batch, 2] is the height and the
    width of each image on its canvas, where they differ from the canvas's. Boxes without area are
    left out.

    The loss of an image is that of `focal_losses`, and the loss of a batch their mean. The metrics
    are these losses, COCO's average precision and recall, and the AP of each class.

    Attributes:
        model: linen module that gives `DetectorOutputs`, such as `models.RetinaNet`.
        box_loss: "l1" compares what `encode_boxes` gives; "giou" is for torchvision's version 2.
        score_threshold, iou_threshold, candidates, most: of the detections, see
            `detections_of_anchors`.
        class_names: classes with a metric `AP/<class>`, in the order of the labels.

    Raises:
        ConfigError: an unknown loss.
    """

    box_loss: BoxLoss = "l1"
    score_threshold: float = 0.05
    iou_threshold: float = 0.5
    candidates: int = 1000
    most: int = 300

    def __post_init__(self) -> None:
        check_loss(self.box_loss, ("l1", "giou"))

    def check(self, dataset: Any) -> None:
        """Raise ConfigError if the data set has no boxes, or more classes than the model."""
        check_boxes(dataset)
        check_outputs(self.model, dataset)

    def loss_fn(
        self,
        params: PyTree,
        model_state: PyTree,
        batch: dict[str, Array],
        key: Key[Array, ""],
        train: bool,
    ) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
        """Weighted sum of the loss, the new model state, and sums for the metrics."""
        outputs, model_state = apply_model(
            self.model, params, model_state, batch["image"], key, train
        )
        logits, deltas = (jnp.concatenate(outputs[name], 1) for name in ("logits", "deltas"))
        anchors = jnp.concatenate(outputs["anchors"])

        def of_image(logits: Array, deltas: Array, boxes: Array, labels: Array) -> Any:
            return focal_losses(logits, deltas, anchors, boxes, labels, self.box_loss)

        losses = jax.vmap(of_image)(logits, deltas, batch["boxes"], batch["box_labels"])
        sums = weighted_sums(batch["weight"], **losses)
        return sums["classification_loss"] + sums["box_loss"], (model_state, sums)

    def predict(
        self, params: PyTree, model_state: PyTree, batch: dict[str, Array]
    ) -> dict[str, Array]:
        """The `PaddedDetections` of every image."""
        outputs = predict_model(self.model, params, model_state, batch["image"])

        def of_image(logits: Any, deltas: Any, size: Array) -> PaddedDetections:
            return detections_of_anchors(
                logits,
                deltas,
                outputs["anchors"],
                size,
                score_threshold=self.score_threshold,
                iou_threshold=self.iou_threshold,
                candidates=self.candidates,
                most=self.most,
            )

        return jax.vmap(of_image)(outputs["logits"], outputs["deltas"], image_sizes(batch))


def scored_images(
    found: Mapping[str, np.ndarray], truths: Mapping[str, np.ndarray]
) -> Iterator[tuple[Detections, Truths]]:
    """What is found and what is there in each image, without padding, on the host.

    Args:
        found: `PaddedDetections` of many images, with `masks` for the masks.
        truths: their `boxes`, `box_labels` and, where there are any, `crowd_labels` and `areas`;
            `instances` for the masks.
    """
    labels = truths["box_labels"]
    crowds = truths.get("crowd_labels", np.full_like(labels, -1))
    for image, label in enumerate(labels):
        real, crowd = found["box_labels"][image] >= 0, crowds[image] >= 0
        there = (label >= 0) | crowd
        masks: Any = None, None
        if "masks" in found and "instances" in truths:
            ids = truths["instances"][image]
            pasted = _paste(found["masks"][image], found["boxes"][image], ids.shape)
            masks = np.asarray(pasted > MASK_THRESHOLD)[real], _masks(ids, there)
        yield (
            Detections(
                found["boxes"][image][real],
                found["box_labels"][image][real],
                found["scores"][image][real],
                masks[0],
            ),
            Truths(
                truths["boxes"][image][there],
                np.maximum(label, crowds[image])[there],
                crowd[there],
                truths["areas"][image][there] if "areas" in truths else None,
                masks[1],
            ),
        )


_paste = jax.jit(paste_masks, static_argnums=2)


def _masks(ids: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Whether a pixel belongs to each of the objects that are there."""
    return ids[None] == 1 + np.flatnonzero(there)[:, None, None]


def focal_losses(
    logits: Float[Array, "anchors classes"],
    deltas: Float[Array, "anchors 4"],
    anchors: Float[Array, "anchors 4"],
    boxes: Shaped[Array, "most 4"],
    labels: Int[Array, " most"],
    box_loss: BoxLoss = "l1",
) -> dict[str, Float[Array, ""]]:
    """The losses of one image, each divided by the number of anchors that have an object.

    Anchors are matched with thresholds of 0.5 and 0.4, and each object has its best anchors
    (Lin et al. 2017, section 4).

    Args:
        logits: of all anchors.
        deltas: of all anchors, for `decode_boxes`.
        anchors: in pixels.
        boxes: of the objects.
        labels: their classes; -1 is padding.
        box_loss: see `Detection`.

    Returns:
        `classification_loss`, the focal loss of all anchors but those between the thresholds, and
        `box_loss`, that of those with an object.
    """
    there = real_boxes(boxes, labels)
    quality = pairwise_iou(boxes, anchors)
    matches = match_anchors(quality, 0.5, 0.4, mask=there, low_quality=True)
    foreground, truth = matches >= 0, jnp.maximum(matches, 0)
    targets = jax.nn.one_hot(labels[truth], logits.shape[-1]) * foreground[:, None]
    focal = sigmoid_focal_loss(logits, targets)
    # Elsewhere any box that has a finite loss.
    matched = jnp.where(foreground[:, None], boxes[truth].astype(anchors.dtype), anchors)
    if box_loss == "giou":
        of_box = 1 - box_giou(decode_boxes(deltas, anchors), matched)
    else:
        of_box = jnp.sum(jnp.abs(deltas - encode_boxes(matched, anchors)), axis=-1)
    number = jnp.maximum(jnp.sum(foreground), 1)
    return {
        "classification_loss": jnp.sum(jnp.where(matches == BETWEEN, 0, focal)) / number,
        "box_loss": jnp.sum(jnp.where(foreground, of_box, 0)) / number,
    }


def real_boxes(boxes: Shaped[Array, "*batch 4"], labels: Array) -> Array:
    """Which boxes are objects: neither padding nor without area."""
    proper = (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])
    return (labels >= 0) & proper


def image_sizes(batch: dict[str, Array]) -> Array:
    """(height, width) of every image of a batch: its `size`, or that of the canvas."""
    number, *canvas, _ = batch["image"].shape
    return batch.get("size", jnp.tile(jnp.asarray(canvas), (number, 1)))


def check_boxes(dataset: Any) -> None:
    """Raise ConfigError for a data set without boxes."""
    for name in ("boxes", "box_labels"):
        if name not in dataset.spec:
            raise ConfigError(
                f"detection needs {name!r} of every image, which {dataset.title} does not have; "
                f"it has {', '.join(dataset.spec)}"
            )
