"""Classification: one label per image."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import flax.linen as nn
from jaxtyping import Array, Float, Key, PyTree

from cnn_jax.errors import ConfigError
from cnn_jax.tasks.apply import Spec, apply_model, check_loss, init_model, predict_model
from cnn_jax.tasks.losses import (
    multiclass_hinge_loss,
    one_hot_squared_error,
    one_versus_rest_logistic_loss,
    softmax_cross_entropy,
)
from cnn_jax.tasks.metrics import accuracy, mean, weighted_sums

ClassificationLoss = Literal["softmax", "hinge", "logistic", "squared"]

LOSSES: dict[str, Callable[..., Float[Array, " batch"]]] = {
    "softmax": softmax_cross_entropy,
    "hinge": multiclass_hinge_loss,
    "logistic": one_versus_rest_logistic_loss,
    "squared": one_hot_squared_error,
}


@dataclass(frozen=True)
class Classification:
    """Train a model to give the label's class the largest output.

    ``batch["label"]`` holds one class per example, or the probabilities of all classes (after
    mixup). Accuracy then compares with the most probable class.

    A model with auxiliary classifiers returns a tuple in training, its main outputs first. The loss
    is that of the main outputs plus `auxiliary_weight` times the sum of the auxiliary losses.
    Accuracy is that of the main outputs. In evaluation there are only the main outputs.

    Attributes:
        model: linen module, ``model.apply(variables, images, train=…) -> [batch, classes]``, or
            in training a tuple of such outputs.
        loss: "softmax" is the softmax cross entropy (maximum likelihood); "hinge" the multiclass
            hinge loss of Crammer and Singer; "logistic" the logistic loss of each class against
            the rest; "squared" the squared error from the one-hot label.
        label_smoothing: probability moved from the label to all classes in training; only for
            softmax. It also applies to the auxiliary losses.
        auxiliary_weight: weight of each auxiliary loss: 0.3 in GoogLeNet's paper (Szegedy et al.
            2015, section 5); TensorFlow-Slim trains Inception v3 with 0.4.

    Raises:
        ConfigError: an unknown loss, label smoothing out of range or with another loss, or a weight
            that is negative or not finite.
    """

    model: nn.Module
    loss: ClassificationLoss = "softmax"
    label_smoothing: float = 0.0
    auxiliary_weight: float = 0.3

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
        if not 0 <= self.auxiliary_weight < math.inf:
            raise ConfigError(
                f"auxiliary_weight must be finite and not negative, got {self.auxiliary_weight}"
            )

    def check(self, dataset: Any) -> None:
        """Raise ConfigError if the data set has more classes than the model has outputs."""
        outputs, classes = getattr(self.model, "num_classes", None), dataset.num_classes
        if outputs is not None and outputs < classes:
            raise ConfigError(
                f"the model has {outputs} outputs, and {dataset.title} has {classes} classes; "
                f"create the model with num_classes={classes}"
            )

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
        loss_of = LOSSES[self.loss]
        if train and self.label_smoothing:
            loss_of = partial(loss_of, label_smoothing=self.label_smoothing)
        loss = loss_of(outputs, batch["label"])
        for head in auxiliary:
            loss = loss + self.auxiliary_weight * loss_of(head, batch["label"])
        sums = weighted_sums(batch["weight"], loss=loss, correct=accuracy(outputs, batch["label"]))
        return sums.pop("loss"), (model_state, sums)

    def predict(
        self, params: PyTree, model_state: PyTree, batch: dict[str, Array]
    ) -> Float[Array, "batch classes"]:
        """Outputs for a batch, before any output layer."""
        return predict_model(self.model, params, model_state, batch["image"])

    @staticmethod
    def summarize(sums: dict[str, Any]) -> dict[str, float]:
        """Mean loss and accuracy from added-up sums."""
        return {
            "loss": mean(sums["loss"], sums["weight"]),
            "accuracy": mean(sums["correct"], sums["weight"]),
        }
