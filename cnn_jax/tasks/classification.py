"""Classification: one label per image, or per pixel."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import flax.linen as nn
from jaxtyping import Array, Float, Key, PyTree

from cnn_jax.errors import ConfigError
from cnn_jax.tasks.apply import (
    Spec,
    apply_model,
    check_loss,
    check_outputs,
    init_model,
    predict_model,
)
from cnn_jax.tasks.labels import PerLabel, counted, label_weights
from cnn_jax.tasks.losses import (
    multiclass_hinge_loss,
    one_hot_squared_error,
    one_versus_rest_logistic_loss,
    softmax_cross_entropy,
    softmax_focal_loss,
)
from cnn_jax.tasks.metrics import accuracy, mean, weighted_sums

ClassificationLoss = Literal["softmax", "focal", "hinge", "logistic", "squared"]

LOSSES: dict[str, Callable[..., PerLabel]] = {
    "softmax": softmax_cross_entropy,
    "focal": softmax_focal_loss,
    "hinge": multiclass_hinge_loss,
    "logistic": one_versus_rest_logistic_loss,
    "squared": one_hot_squared_error,
}


@dataclass(frozen=True)
class Classification:
    """Train a model to give the label's class the largest output.

    ``batch["label"]`` holds one class per example, or the probabilities of all classes (after
    mixup). Accuracy then compares with the most probable class. With outputs for each pixel, it
    holds one class per pixel.

    With class weights, the loss is the weighted mean that `torch.nn.functional.cross_entropy`
    gives, in training and in evaluation. Accuracy is not weighted.

    A model with auxiliary classifiers returns a tuple in training, its main outputs first. The loss
    is that of the main outputs plus `auxiliary_weight` times the sum of the auxiliary losses.
    Accuracy is that of the main outputs. In evaluation there are only the main outputs.

    Attributes:
        model: linen module, ``model.apply(variables, images, train=…) -> [batch, classes]``, or
            in training a tuple of such outputs.
        loss: "softmax" is the softmax cross entropy (maximum likelihood); "focal" the focal loss,
            which has less weight on what is already classified well; "hinge" the multiclass
            hinge loss of Crammer and Singer; "logistic" the logistic loss of each class against
            the rest; "squared" the squared error from the one-hot label.
        label_smoothing: probability moved from the label to all classes in training; only for
            softmax. It also applies to the auxiliary losses.
        focal_gamma: exponent of the focal loss.
        class_weights: weight of each class, for softmax and focal; () is 1 for all. For all classes
            to count alike, see `balanced_class_weights`.
        ignore_index: a label that counts neither in the loss nor in the accuracy, such as 255 in
            many data sets of segmentation; None counts all.
        auxiliary_weight: weight of each auxiliary loss: 0.3 in GoogLeNet's paper (Szegedy et al.
            2015, section 5); TensorFlow-Slim trains Inception v3 with 0.4.

    Raises:
        ConfigError: an unknown loss, label smoothing or class weights that are out of range or with
            another loss, or a weight or exponent that is negative or not finite.
    """

    model: nn.Module
    loss: ClassificationLoss = "softmax"
    label_smoothing: float = 0.0
    focal_gamma: float = 2.0
    class_weights: tuple[float, ...] = ()
    ignore_index: int | None = None
    auxiliary_weight: float = 0.3

    inputs: ClassVar[str] = "image"
    """The entry of an example that the model reads."""
    metrics: ClassVar[tuple[str, ...]] = ("loss", "accuracy")
    best_metric: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_loss(self.loss, LOSSES)
        if not 0 <= self.label_smoothing <= 1:
            raise ConfigError(
                f"label_smoothing must be between 0 and 1, got {self.label_smoothing}"
            )
        if self.label_smoothing and self.loss != "softmax":
            raise ConfigError(
                f"label_smoothing {self.label_smoothing} is for the softmax loss, not for "
                f"{self.loss!r}; set it to 0 or use softmax"
            )
        if not all(0 <= weight < math.inf for weight in self.class_weights):
            raise ConfigError(
                f"class_weights must be finite and not negative, got {self.class_weights}"
            )
        if self.class_weights and self.loss not in ("softmax", "focal"):
            raise ConfigError(
                f"class_weights are for the losses softmax and focal, not for {self.loss!r}; leave "
                "them out or use one of these"
            )
        for name in ("focal_gamma", "auxiliary_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(
                    f"{name} must be finite and not negative, got {getattr(self, name)}"
                )

    def check(self, dataset: Any) -> None:
        """Raise ConfigError if the data set has no labels, or more classes than the model."""
        if missing := {self.inputs, "label"} - set(dataset.spec):
            raise ConfigError(
                f"classification needs a label of every {self.inputs}: {dataset.title} has "
                f"{', '.join(dataset.spec)}, and no {', '.join(sorted(missing))}"
            )
        check_outputs(self.model, dataset)

    def init(self, key: Key[Array, ""], spec: Spec) -> tuple[PyTree, PyTree]:
        """Fresh ``(params, model_state)`` for examples of a spec."""
        return init_model(self.model, key, spec, self.inputs)

    def loss_fn(
        self,
        params: PyTree,
        model_state: PyTree,
        batch: dict[str, Array],
        key: Key[Array, ""],
        train: bool,
    ) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
        """Weighted sum of the loss, the new model state, and sums for the metrics."""
        inputs = batch[self.inputs]
        outputs, model_state = apply_model(self.model, params, model_state, inputs, key, train)
        outputs, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
        labels, ignored = batch["label"], self.ignore_index
        loss_of = self._loss(train)
        loss = loss_of(outputs, labels)
        for head in auxiliary:
            loss = loss + self.auxiliary_weight * loss_of(head, labels)
        weights = self.class_weights or None
        sums = weighted_sums(
            batch["weight"],
            loss=loss,
            weight=label_weights(outputs, labels, class_weights=weights, ignore_index=ignored),
            correct=accuracy(outputs, labels, ignore_index=ignored),
            labels=counted(labels, ignored).astype(loss.dtype),
        )
        return sums.pop("loss"), (model_state, sums)

    def _loss(self, train: bool) -> Callable[..., PerLabel]:
        settings: dict[str, Any] = {"ignore_index": self.ignore_index}
        if self.loss in ("softmax", "focal"):
            settings["class_weights"] = self.class_weights or None
        if self.loss == "focal":
            settings["gamma"] = self.focal_gamma
        if train and self.label_smoothing:
            settings["label_smoothing"] = self.label_smoothing
        return partial(LOSSES[self.loss], **settings)

    def predict(
        self, params: PyTree, model_state: PyTree, batch: dict[str, Array]
    ) -> Float[Array, "batch *space classes"]:
        """Outputs for a batch, before any output layer."""
        return predict_model(self.model, params, model_state, batch[self.inputs])

    @staticmethod
    def summarize(sums: dict[str, Any]) -> dict[str, float]:
        """Mean loss, weighted by class, and accuracy from added-up sums."""
        return {
            "loss": mean(sums["loss"], sums["weight"]),
            "accuracy": mean(sums["correct"], sums["labels"]),
        }


@dataclass(frozen=True)
class TextClassification(Classification):
    """`Classification` of texts, ``batch["tokens"]`` [batch, time], such as by a
    `models.TextClassifier`.

    Attributes:
        words: the word of each token, so that a run can read other texts.
    """

    words: tuple[str, ...] = ()

    inputs: ClassVar[str] = "tokens"
