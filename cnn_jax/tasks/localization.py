"""Classification with localization: one class and one box for each image."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from cnn_jax.errors import ConfigError
from cnn_jax.layers import box_giou, box_iou
from cnn_jax.tasks.apply import (
    Spec,
    apply_model,
    check_loss,
    check_outputs,
    init_model,
    predict_model,
)
from cnn_jax.tasks.losses import huber_loss, softmax_cross_entropy
from cnn_jax.tasks.metrics import accuracy, mean, weighted_sums
from cnn_jax.tasks.output_layers import decision, softmax

BoxLoss = Literal["smooth_l1", "giou"]
LOSSES = ("smooth_l1", "giou")
SMOOTH_BELOW = 0.1
"""Smooth L1 is quadratic for errors below this share of the image's side."""
ENOUGH = 0.5
"""The least overlap of a box that is right."""


@dataclass(frozen=True)
class Localization:
    """Train a model to give the class and the box of the one object of each image.

    ``batch["label"]`` holds the class, ``batch["boxes"]`` [batch, 1, 4] the box in pixels, and
    ``batch["box_labels"]`` [batch, 1] is -1 where augmentation has moved the object out of the
    image, which then has no loss of its box.

    The loss of an image is the softmax cross entropy plus `box_weight` times the loss of its box.
    `localized` is the share of images whose class is right and whose box overlaps the true one by
    1/2 or more, and the localization error the share of the others (ILSVRC with one guess). For
    comparison, `centre_box_iou` and `centre_box_localized` are those of a classifier with one and
    the same box for all images.

    Attributes:
        model: linen module, ``model.apply(variables, images, train=…) -> {"logits": [batch,
            classes], "box": [batch, 4]}``, boxes in pixels.
        loss: of the boxes. "smooth_l1" is `torch.nn.functional.smooth_l1_loss` of the four corners
            as shares of the image's sides, summed, with beta 0.1; "giou" is one minus the
            generalized IoU (Rezatofighi et al. 2019).
        box_weight: weight of the loss of the boxes.
        centre_box: that box, as shares (x0, y0, x1, y1) of the image's sides.

    Raises:
        ConfigError: an unknown loss, a weight that is negative or not finite, or a box that has no
            area.
    """

    model: nn.Module
    loss: BoxLoss = "giou"
    box_weight: float = 1.0
    centre_box: tuple[float, float, float, float] = (0.125, 0.125, 0.875, 0.875)

    metrics: ClassVar[tuple[str, ...]] = (
        *("loss", "accuracy", "mean_iou", "localized", "localization_error"),
        *("centre_box_iou", "centre_box_localized"),
    )
    best_metric: ClassVar[str] = "localization_error"
    higher_is_better: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_loss(self.loss, LOSSES)
        if not 0 <= self.box_weight < math.inf:
            raise ConfigError(f"box_weight must be finite and not negative, got {self.box_weight}")
        x0, y0, x1, y1 = self.centre_box
        if not (x0 < x1 and y0 < y1):
            raise ConfigError(f"centre_box must have x0 < x1 and y0 < y1, got {self.centre_box}")

    def check(self, dataset: Any) -> None:
        """Raise ConfigError if the examples have no single box, or more classes than the model."""
        boxes = dataset.spec.get("boxes")
        if boxes is None or boxes.shape != (1, 4) or "label" not in dataset.spec:
            found = "none" if boxes is None else f"boxes of shape {boxes.shape}"
            raise ConfigError(
                "localization needs a label and one box [1, 4] of every image: "
                f"{dataset.title} has {found}"
            )
        check_outputs(self.model, dataset)

    def init(self, key: Key[Array, ""], spec: Spec) -> tuple[PyTree, PyTree]:
        """Fresh ``(params, model_state)`` for examples of a spec."""
        return init_model(self.model, key, spec)

    def loss_fn(
        self,
        params: PyTree,
        model_state: PyTree,
        batch: dict[str, Array],
        key: Key[Array, ""],
        train: bool,
    ) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
        """Weighted sum of the loss, the new model state, and sums for the metrics."""
        images, labels, truth = batch["image"], batch["label"], batch["boxes"][:, 0]
        outputs, model_state = apply_model(self.model, params, model_state, images, key, train)
        logits, box = outputs["logits"], outputs["box"]
        height, width = images.shape[1:3]
        sides = jnp.array([[width, height, width, height]], box.dtype)
        there = (batch["box_labels"][:, 0] >= 0).astype(box.dtype)

        iou = box_iou(box, truth)
        centre_iou = box_iou(jnp.array([self.centre_box], box.dtype) * sides, truth)
        if self.loss == "giou":
            box_loss = 1 - box_giou(box, truth)
        else:
            scale = SMOOTH_BELOW * sides
            box_loss = SMOOTH_BELOW * huber_loss(box / scale, truth / scale)
        right = accuracy(logits, labels)
        sums = weighted_sums(
            batch["weight"],
            loss=softmax_cross_entropy(logits, labels) + self.box_weight * there * box_loss,
            accuracy=right,
            boxes=there,
            iou=there * iou,
            localized=there * right * (iou >= ENOUGH),
            centre_iou=there * centre_iou,
            centre_localized=there * right * (centre_iou >= ENOUGH),
        )
        return sums.pop("loss"), (model_state, sums)

    def predict(
        self, params: PyTree, model_state: PyTree, batch: dict[str, Array]
    ) -> dict[str, Array]:
        """The ``label`` [batch] of each image, its probability ``score`` [batch], and the ``box``.

        Boxes [batch, 4] are in pixels.
        """
        outputs = predict_model(self.model, params, model_state, batch["image"])
        logits = outputs["logits"]
        score = jnp.max(softmax(logits), axis=-1)
        return {"label": decision(logits), "score": score, "box": outputs["box"]}

    @staticmethod
    def summarize(sums: dict[str, Any]) -> dict[str, float]:
        """Mean loss and the metrics from added-up sums."""
        localized = mean(sums["localized"], sums["boxes"])
        return {
            "loss": mean(sums["loss"], sums["weight"]),
            "accuracy": mean(sums["accuracy"], sums["weight"]),
            "mean_iou": mean(sums["iou"], sums["boxes"]),
            "localized": localized,
            "localization_error": 1 - localized,
            "centre_box_iou": mean(sums["centre_iou"], sums["boxes"]),
            "centre_box_localized": mean(sums["centre_localized"], sums["boxes"]),
        }
