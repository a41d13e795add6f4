"""Detection in one stage with hard negatives: boxes and classes of all objects, from an SSD."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree, Shaped

from cnn_jax.layers import (
    encode_boxes,
    match_anchors,
    match_every_truth,
    pairwise_iou,
    resize_boxes,
)
from cnn_jax.tasks.apply import apply_model, predict_model
from cnn_jax.tasks.background import check_with_background, with_background, without_background
from cnn_jax.tasks.detection import DetectorTask, check_boxes, image_sizes, real_boxes
from cnn_jax.tasks.detections import BOX_WEIGHTS, PaddedDetections, detections_of_default_boxes
from cnn_jax.tasks.metrics import sums_of_means

NEGATIVES = 3
"""Negatives of the loss for each positive (Liu et al. 2016, section 2.2)."""


@dataclass(frozen=True)
class MultiBoxDetection(DetectorTask):
    """Train an SSD with the MultiBox loss, as torchvision does.

    Batches are those of `Detection`; each image is resized to the model's size, with its boxes.
    The loss of a batch is the sum of the losses of `multibox_losses` over its images, divided by
    the number of anchors that have an object, and its two parts are metrics beside those of
    `Detection`.

    Attributes:
        model: linen module like `models.SSD`.
        background: whether class 0 of the data set is the background. Otherwise its classes are
            larger by one in the model, whose class 0 is the background.
        score_threshold, iou_threshold, candidates, most: of the detections, see
            `detections_of_default_boxes`.
        class_names: classes with a metric `AP/<class>`, in the order of the data set's labels.
    """

    background: bool = True
    score_threshold: float = 0.01
    iou_threshold: float = 0.45
    candidates: int = 400
    most: int = 200

    def check(self, dataset: Any) -> None:
        """Raise ConfigError if the data set has no boxes, or more classes than the model."""
        check_boxes(dataset)
        check_with_background(self.model, dataset, self.background)

    def loss_fn(
        self,
        params: PyTree,
        model_state: PyTree,
        batch: dict[str, Array],
        key: Key[Array, ""],
        train: bool,
    ) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
        """Weighted sum of the loss, the new model state, and sums for the metrics."""
        sizes, side = image_sizes(batch), jnp.asarray(self.model.image_size)
        outputs, model_state = apply_model(
            self.model, params, model_state, batch["image"], key, train, sizes=sizes
        )
        logits, deltas = (jnp.concatenate(outputs[name], 1) for name in ("logits", "deltas"))
        anchors = jnp.concatenate(outputs["anchors"])

        def of_image(logits: Array, deltas: Array, size: Array, boxes: Array, labels: Array) -> Any:
            boxes = resize_boxes(boxes.astype(anchors.dtype), size, side)
            labels = with_background(labels, self.background)
            return multibox_losses(logits, deltas, anchors, boxes, labels)

        losses, positives = jax.vmap(of_image)(
            logits, deltas, sizes, batch["boxes"], batch["box_labels"]
        )
        sums = sums_of_means(batch["weight"], losses, dict.fromkeys(losses, positives))
        return sums["classification_loss"] + sums["box_loss"], (model_state, sums)

    def predict(
        self, params: PyTree, model_state: PyTree, batch: dict[str, Array]
    ) -> dict[str, Array]:
        """The `PaddedDetections` of every image."""
        sizes, side = image_sizes(batch), jnp.asarray(self.model.image_size)
        outputs = predict_model(self.model, params, model_state, batch["image"], sizes=sizes)
        logits, deltas = (jnp.concatenate(outputs[name], 1) for name in ("logits", "deltas"))
        anchors = jnp.concatenate(outputs["anchors"])

        def of_image(logits: Array, deltas: Array, size: Array) -> PaddedDetections:
            found = detections_of_default_boxes(
                logits,
                deltas,
                anchors,
                side,
                score_threshold=self.score_threshold,
                iou_threshold=self.iou_threshold,
                candidates=self.candidates,
                most=self.most,
            )
            boxes = resize_boxes(found["boxes"], side, size)
            labels = without_background(found["box_labels"], self.background)
            return found | {"boxes": boxes, "box_labels": labels}

        return jax.vmap(of_image)(logits, deltas, sizes)


def multibox_losses(
    logits: Float[Array, "anchors classes"],
    deltas: Float[Array, "anchors 4"],
    anchors: Float[Array, "anchors 4"],
    boxes: Shaped[Array, "most 4"],
    labels: Int[Array, " most"],
) -> tuple[dict[str, Float[Array, ""]], Int[Array, ""]]:
    """The losses of one image, and the number of anchors that have an object (Liu et al. 2016).

    An anchor has the object that overlaps it most, if their IoU is at least 0.5, and each object
    has its best anchor. Of the others, those count that are most falsely taken for objects, three
    for each anchor with an object; of equally false ones the first.

    Args:
        logits: of all anchors; class 0 is the background.
        deltas: of all anchors, for `decode_boxes` with `BOX_WEIGHTS`.
        anchors: in pixels.
        boxes: of the objects.
        labels: their classes, at least 1; -1 is padding.

    Returns:
        Sums over anchors: `classification_loss`, the cross entropy, and `box_loss`, the smooth L1
        loss of those with an object; and their number.
    """
    there = real_boxes(boxes, labels)
    quality = pairwise_iou(boxes, anchors)
    matches = match_anchors(quality, 0.5, 0.5, mask=there)
    matches = match_every_truth(matches, quality, mask=there)
    positive, truth = matches >= 0, jnp.maximum(matches, 0)
    number = jnp.sum(positive)
    entropy = optax.losses.softmax_cross_entropy_with_integer_labels(
        logits, jnp.where(positive, labels[truth], 0)
    )
    falsest = jnp.argsort(jnp.where(positive, jnp.inf, -entropy), stable=True)
    # Where there are too few negatives, torchvision counts positives twice.
    of_hard = jnp.where(jnp.arange(len(anchors)) < NEGATIVES * number, entropy[falsest], 0)
    # Elsewhere any box that has a finite loss.
    matched = jnp.where(positive[:, None], boxes[truth].astype(anchors.dtype), anchors)
    errors = deltas - encode_boxes(matched, anchors, BOX_WEIGHTS)
    of_box = jnp.sum(optax.losses.huber_loss(errors), axis=-1)
    losses = {
        "classification_loss": jnp.sum(jnp.where(positive, entropy, 0)) + jnp.sum(of_hard),
        "box_loss": jnp.sum(jnp.where(positive, of_box, 0)),
    }
    return losses, number
