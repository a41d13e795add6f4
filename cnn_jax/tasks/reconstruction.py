"""Reconstruction: an autoencoder reproduces the images that it is given."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import flax.linen as nn
from jaxtyping import Array, Float, Key, PyTree

from cnn_jax.errors import ConfigError
from cnn_jax.tasks.apply import Spec, apply_model, check_loss, init_model, predict_model
from cnn_jax.tasks.losses import binary_cross_entropy, squared_error
from cnn_jax.tasks.metrics import mean, weighted_sums
from cnn_jax.tasks.output_layers import identity, sigmoid

ReconstructionLoss = Literal["squared", "bernoulli"]
ReconstructionOutput = Literal["sigmoid", "identity"]

LOSSES: tuple[ReconstructionLoss, ...] = get_args(ReconstructionLoss)
OUTPUT_LAYERS: dict[str, Callable[[Array], Array]] = {"sigmoid": sigmoid, "identity": identity}


@dataclass(frozen=True)
class Reconstruction:
    """Train a model to reproduce ``batch["image"]``, with pixels between 0 and 1.

    Labels are ignored. The squared error is summed over the pixels of an image (Hinton and
    Salakhutdinov 2006) and averaged over images. The mean of the data set must be 0 and its
    standard deviation 1, so that pixels stay between 0 and 1.

    Attributes:
        model: linen module, ``model.apply(variables, images, train=…)`` of the images' shape.
        loss: "squared" is the squared error of the reconstruction; "bernoulli" the cross entropy
            of each pixel, taken as the probability of white.
        output: output layer that gives the reconstruction; the cross entropy needs the sigmoid.

    Raises:
        ConfigError: an unknown loss or output layer, or cross entropy without the sigmoid.
    """

    model: nn.Module
    loss: ReconstructionLoss = "squared"
    output: ReconstructionOutput = "sigmoid"

    metrics: ClassVar[tuple[str, ...]] = ("loss", "squared_error")
    best_metric: ClassVar[str] = "squared_error"
    higher_is_better: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_loss(self.loss, LOSSES)
        if self.output not in OUTPUT_LAYERS:
            known = ", ".join(map(repr, OUTPUT_LAYERS))
            raise ConfigError(f"output must be one of {known}, got {self.output!r}")
        if self.loss == "bernoulli" and self.output != "sigmoid":
            raise ConfigError(
                f"the bernoulli loss needs probabilities: output must be 'sigmoid', got "
                f"{self.output!r}"
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
        error = squared_error(OUTPUT_LAYERS[self.output](outputs), images)
        # From the logits, which is exact where a probability rounds to 0 or 1.
        loss = binary_cross_entropy(outputs, images) if self.loss == "bernoulli" else error
        sums = weighted_sums(batch["weight"], loss=loss, squared_error=error)
        return sums.pop("loss"), (model_state, sums)

    def predict(
        self, params: PyTree, model_state: PyTree, batch: dict[str, Array]
    ) -> Float[Array, "batch *image"]:
        """Reconstructions of a batch."""
        outputs = predict_model(self.model, params, model_state, batch["image"])
        return OUTPUT_LAYERS[self.output](outputs)

    @staticmethod
    def summarize(sums: dict[str, Any]) -> dict[str, float]:
        """Mean loss and squared error from added-up sums."""
        return {
            "loss": mean(sums["loss"], sums["weight"]),
            "squared_error": mean(sums["squared_error"], sums["weight"]),
        }
