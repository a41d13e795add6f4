"""Regression: real numbers per image."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import flax.linen as nn
from jaxtyping import Array, Float, Key, PyTree

from cnn_jax.tasks.apply import Spec, apply_model, check_loss, init_model, predict_model
from cnn_jax.tasks.losses import absolute_error, huber_loss, squared_error
from cnn_jax.tasks.metrics import mean, rmse, weighted_sums

RegressionLoss = Literal["squared", "absolute", "huber"]

LOSSES: dict[str, Callable[..., Float[Array, " batch"]]] = {
    "squared": squared_error,
    "absolute": absolute_error,
    "huber": huber_loss,
}


@dataclass(frozen=True)
class Regression:
    """Train a model to predict the numbers in ``batch["label"]``, [batch, outputs].

    The loss of an example is summed over its outputs. The RMSE is in the unit of the labels; its
    mean is over examples and outputs.

    Attributes:
        model: linen module, ``model.apply(variables, images, train=…) -> [batch, outputs]``.
        loss: squared error, absolute error, or Huber's loss with delta 1.

    Raises:
        ConfigError: an unknown loss.
    """

    model: nn.Module
    loss: RegressionLoss = "squared"

    metrics: ClassVar[tuple[str, ...]] = ("loss", "rmse")
    best_metric: ClassVar[str] = "rmse"
    higher_is_better: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_loss(self.loss, LOSSES)

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
        sums = weighted_sums(
            batch["weight"],
            loss=LOSSES[self.loss](outputs, batch["label"]),
            squared_error=squared_error(outputs, batch["label"]) / math.prod(outputs.shape[1:]),
        )
        return sums.pop("loss"), (model_state, sums)

    def predict(
        self, params: PyTree, model_state: PyTree, batch: dict[str, Array]
    ) -> Float[Array, "batch outputs"]:
        """Predictions of a batch."""
        return predict_model(self.model, params, model_state, batch["image"])

    @staticmethod
    def summarize(sums: dict[str, Any]) -> dict[str, float]:
        """Mean loss and RMSE from added-up sums."""
        return {
            "loss": mean(sums["loss"], sums["weight"]),
            "rmse": rmse(sums["squared_error"], sums["weight"]),
        }
