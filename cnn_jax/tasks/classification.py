"""Classification: one label an image."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, Int, Key, PyTree


def softmax_cross_entropy(
    logits: Float[Array, "batch classes"],
    labels: Int[Array, " batch"],
    *,
    label_smoothing: float = 0.0,
) -> Float[Array, " batch"]:
    """Negative log-likelihood of each label under softmax of the logits.

    With smoothing ``s`` the target is ``1 - s`` on the label plus ``s / classes`` on every
    class (Szegedy et al. 2016, section 7; PyTorch's ``label_smoothing``).
    """
    targets = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    if label_smoothing:
        targets = optax.smooth_labels(targets, label_smoothing)
    return optax.softmax_cross_entropy(logits, targets)


@dataclass(frozen=True)
class Classification:
    """Train a model of logits by maximum likelihood of the labels.

    Attributes:
        model: linen module, ``model.apply(variables, images, train=…) -> [batch, classes]``.
        label_smoothing: probability mass moved from the label to all classes, in training only.
    """

    model: nn.Module
    label_smoothing: float = 0.0

    metrics: ClassVar[tuple[str, ...]] = ("loss", "accuracy")
    best_metric: ClassVar[str] = "accuracy"

    def with_axis(self, axis_name: str | None) -> "Classification":
        """The same task with BatchNorm synchronized over a mapped axis."""
        return dataclasses.replace(self, model=self.model.clone(axis_name=axis_name))

    def init(self, key: Key[Array, ""], image_shape: tuple[int, int, int]) -> tuple[Any, Any]:
        """Fresh ``(params, model_state)`` for images of ``(height, width, channels)``."""
        images = jnp.zeros((1, *image_shape))
        variables = jax.jit(self.model.init, static_argnames="train")(key, images, train=False)
        params = variables.pop("params")
        return params, variables

    def loss_fn(
        self,
        params: PyTree,
        model_state: PyTree,
        batch: dict[str, Array],
        key: Key[Array, ""],
        train: bool,
    ) -> tuple[Array, tuple[PyTree, dict[str, Array]]]:
        """Weighted sum of the loss, the new model state, and sums for the metrics."""
        variables = {"params": params, **model_state}
        if train:
            logits, model_state = self.model.apply(
                variables,
                batch["image"],
                train=True,
                rngs={"dropout": key},
                mutable=list(model_state),
            )
        else:
            logits = self.model.apply(variables, batch["image"], train=False)
        smoothing = self.label_smoothing if train else 0.0
        losses = softmax_cross_entropy(logits, batch["label"], label_smoothing=smoothing)
        weight = batch["weight"].astype(losses.dtype)
        correct = (jnp.argmax(logits, axis=-1) == batch["label"]).astype(losses.dtype)
        sums = {"weight": jnp.sum(weight), "correct": jnp.sum(correct * weight)}
        return jnp.sum(losses * weight), (model_state, sums)

    def predict(
        self, params: PyTree, model_state: PyTree, batch: dict[str, Array]
    ) -> Float[Array, "batch classes"]:
        """Logits of a batch, gathered over the mapped axis if there is one."""
        variables = {"params": params, **model_state}
        logits: Any = self.model.apply(variables, batch["image"], train=False)
        axis_name = getattr(self.model, "axis_name", None)
        return lax.all_gather(logits, axis_name, tiled=True) if axis_name else logits

    @staticmethod
    def summarize(sums: dict[str, Any]) -> dict[str, float]:
        """Mean loss and accuracy of what ``sums`` was added up over."""
        weight = float(np.maximum(sums["weight"], 1e-30))
        return {"loss": float(sums["loss"]) / weight, "accuracy": float(sums["correct"]) / weight}
