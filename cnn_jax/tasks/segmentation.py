"""Semantic segmentation: one class for every pixel."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Integer, Key, PyTree

from cnn_jax.errors import ConfigError
from cnn_jax.tasks.apply import (
    Spec,
    apply_model,
    check_loss,
    check_outputs,
    init_model,
    predict_model,
)
from cnn_jax.tasks.labels import Labels, PerLabel, label_weights
from cnn_jax.tasks.losses import softmax_cross_entropy, softmax_focal_loss
from cnn_jax.tasks.metrics import mean, weighted_sums
from cnn_jax.tasks.output_layers import decision
from cnn_jax.tasks.regions import dice_loss
from cnn_jax.tasks.segmentation_metrics import class_overlaps, pixel_counts, segmentation_scores

SegmentationLoss = Literal["softmax", "focal", "dice", "softmax_dice"]
LOSSES = ("softmax", "focal", "dice", "softmax_dice")
METRICS = (
    "loss",
    "pixel_accuracy",
    "mean_accuracy",
    "mean_iou",
    "frequency_weighted_iou",
    "mean_dice",
)


@dataclass(frozen=True)
class Segmentation:
    """Train a model to give the class of every pixel the largest output.

    ``batch["mask"]`` holds one class per pixel, and ``batch["pixel_weight"]``, where it is there, a
    weight per pixel, such as `border_weights`. Where the outputs are smaller, as those of a U-Net
    with valid convolutions, they are compared with the middle of the mask.

    The loss is a mean over all pixels of the batch that count, weighted as in
    `torch.nn.functional.cross_entropy`; a Dice loss of an image counts as often as its pixels. If
    no pixel counts, it is 0. Metrics are those of `segmentation_scores` with its defaults: ignored
    pixels and absent classes are left out. They are not weighted.

    A model with auxiliary heads returns a tuple in training, its main outputs first. The loss is
    that of the main outputs plus `auxiliary_weight` times the sum of the auxiliary losses. In
    evaluation there are only the main outputs.

    Attributes:
        model: linen module, ``model.apply(variables, images, train=…) -> [batch, height, width,
            classes]``, or in training a tuple of such outputs.
        loss: "softmax" is the softmax cross entropy; "focal" has less weight on what is already
            classified well; "dice" is `dice_loss`; "softmax_dice" is the sum of both (nnU-Net).
        focal_gamma: exponent of the focal loss.
        class_weights: weight of each class in the losses of pixels, such as
            `median_frequency_weights`; () is 1 for all.
        ignore_index: the label of pixels that do not count; None counts all.
        auxiliary_weight: weight of each auxiliary loss; 0.5 in torchvision's references.
        class_names: names by which the metrics have the IoU of each class, such as `iou/road`,
            where it occurs; () has none.

    Raises:
        ConfigError: an unknown loss, class weights for a loss without pixels, or a weight or
            exponent that is negative or not finite.
    """

    model: nn.Module
    loss: SegmentationLoss = "softmax"
    focal_gamma: float = 2.0
    class_weights: tuple[float, ...] = ()
    ignore_index: int | None = 255
    auxiliary_weight: float = 0.5
    class_names: tuple[str, ...] = ()

    best_metric: ClassVar[str] = "mean_iou"
    higher_is_better: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_loss(self.loss, LOSSES)
        if not all(0 <= weight < math.inf for weight in self.class_weights):
            raise ConfigError(
                f"class_weights must be finite and not negative, got {self.class_weights}"
            )
        if self.class_weights and self.loss == "dice":
            raise ConfigError(
                "class_weights are for the losses of pixels, not for 'dice', in which all classes "
                "of an image count alike; leave them out or use softmax_dice"
            )
        for name in ("focal_gamma", "auxiliary_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(
                    f"{name} must be finite and not negative, got {getattr(self, name)}"
                )

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics."""
        return (*METRICS, *(f"iou/{name}" for name in self.class_names))

    def check(self, dataset: Any) -> None:
        """Raise ConfigError if the data set has no masks, or more classes than the model."""
        image, mask = (dataset.spec.get(name) for name in ("image", "mask"))
        if mask is None or mask.shape != image.shape[:2]:
            found = "no mask" if mask is None else f"masks of shape {mask.shape}"
            raise ConfigError(
                f"segmentation needs a mask [height, width] of every image: {dataset.title} has "
                f"images of shape {image.shape} and {found}"
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
        images = batch["image"]
        outputs, model_state = apply_model(self.model, params, model_state, images, key, train)
        outputs, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
        mask, ignored = _middle(batch["mask"], outputs).astype(jnp.int32), self.ignore_index
        weights = label_weights(
            outputs, mask, class_weights=self.class_weights or None, ignore_index=ignored
        )
        loss = self._loss(outputs, mask, weights)
        for head in auxiliary:
            loss = loss + self.auxiliary_weight * self._loss(head, mask, weights)
        if "pixel_weight" in batch:
            of_pixel = _middle(batch["pixel_weight"], outputs).astype(loss.dtype)
            loss, weights = loss * of_pixel, weights * of_pixel
        sums = weighted_sums(batch["weight"], loss=loss, weight=weights)
        counts = pixel_counts(outputs, mask, batch["weight"], ignore_index=ignored)
        sums["counts"] = counts.astype(loss.dtype)
        return sums.pop("loss"), (model_state, sums)

    def _loss(self, outputs: Array, mask: Labels, weights: PerLabel) -> PerLabel:
        """The loss of each pixel; the weights are those of its class."""
        settings: dict[str, Any] = {"ignore_index": self.ignore_index}
        loss = jnp.zeros_like(weights)
        if "dice" in self.loss:
            loss = weights * dice_loss(outputs, mask, **settings)[:, None, None]
        settings["class_weights"] = self.class_weights or None
        if "softmax" in self.loss:
            loss += softmax_cross_entropy(outputs, mask, **settings)
        if self.loss == "focal":
            loss = softmax_focal_loss(outputs, mask, gamma=self.focal_gamma, **settings)
        return loss

    def predict(
        self, params: PyTree, model_state: PyTree, batch: dict[str, Array]
    ) -> Integer[Array, "batch height width"]:
        """The class of every pixel: a byte, unless there are too many classes."""
        outputs = predict_model(self.model, params, model_state, batch["image"])
        few = outputs.shape[-1] <= 256
        return decision(outputs).astype(jnp.uint8 if few else jnp.int32)

    def summarize(self, sums: dict[str, Any]) -> dict[str, float]:
        """Mean loss and the metrics of all pixels from added-up sums."""
        overlaps = class_overlaps(sums["counts"])["iou"].tolist()
        of_class = zip(self.class_names, overlaps, strict=False)
        return {
            "loss": mean(sums["loss"], sums["weight"]),
            **segmentation_scores(sums["counts"]),
            **{f"iou/{name}": iou for name, iou in of_class if not math.isnan(iou)},
        }


def _middle(of_pixels: Array, outputs: Array) -> Array:
    """The pixels that smaller outputs are for: those in the middle of the image."""
    (height, width), (rows, columns) = outputs.shape[1:3], of_pixels.shape[1:3]
    if height > rows or width > columns or (rows - height) % 2 or (columns - width) % 2:
        return of_pixels  # does not fit, which the loss says
    top, left = (rows - height) // 2, (columns - width) // 2
    return of_pixels[:, top : top + height, left : left + width]
