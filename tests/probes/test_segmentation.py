"""Segmentation: masks and boxes follow the augmentation, pixel by pixel."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import optax

from cnn_jax.data import IGNORED, random_crop, random_flip
from cnn_jax.layers import Conv
from cnn_jax.training import Experiment, OptimizerConfig, TrainingConfig
from tests.probes.checks import check_devices, check_resume
from tests.probes.generated import SIZE, dataset, rectangles


@dataclass(frozen=True)
class Segmentation:
    """Softmax at every pixel; it also counts pixels and boxes that were left behind."""

    metrics = ("pixel_accuracy", "astray")
    best_metric, higher_is_better = "pixel_accuracy", True
    model = Conv(3, 3, padding=1)

    def init(self, key: Any, spec: Any) -> Any:
        return self.model.init(key, jnp.zeros((1, *spec["image"].shape)))["params"], {}

    def loss_fn(self, params: Any, model_state: Any, batch: Any, key: Any, train: bool) -> Any:
        logits, mask = self.predict(params, model_state, batch), batch["mask"]
        valid = (mask != IGNORED) * batch["weight"][:, None, None]
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.where(valid, mask, 0))
        shown = jnp.round((batch["image"][..., 0] * 255 - 50) / 100)
        wrong = jnp.sum((mask != IGNORED) & (shown != mask)) + jnp.sum(astray(batch))
        correct = jnp.sum(valid * (logits.argmax(-1) == mask))
        sums = {"weight": jnp.sum(valid), "correct": correct, "wrong": 1.0 * wrong}
        return jnp.sum(losses * valid), (model_state, sums)

    def predict(self, params: Any, model_state: Any, batch: Any) -> Any:
        return self.model.apply({"params": params}, batch["image"])

    def summarize(self, sums: Any) -> dict[str, float]:
        accuracy = float(sums["correct"]) / float(sums["weight"])
        return {"pixel_accuracy": accuracy, "astray": float(sums["wrong"])}


def astray(batch: Any) -> Any:
    """For each image, whether its box is not the one around its mask."""
    inside = (batch["mask"] > 0) & (batch["mask"] != IGNORED)
    at, (x0, y0, x1, y1) = jnp.arange(SIZE)[None], batch["boxes"][:, 0].T[..., None]
    columns, rows = (at >= x0) & (at < x1), (at >= y0) & (at < y1)
    return jnp.any((rows[:, :, None] & columns[:, None, :]) != inside, axis=(1, 2))


EXPERIMENT = Experiment(
    dataset=dataset(
        {"train": rectangles(0, 64), "validation": rectangles(1, 21)},
        mean=(0.0,),
        std=(1.0,),
        augment=(random_crop(padding=3), random_flip()),
    ),
    task=Segmentation(),
    optimizer=OptimizerConfig(name="adam", learning_rate=0.05),
    training=TrainingConfig(duration="10 steps", batch_size=16, log_every="3 steps"),
)


def test_masks_and_boxes_follow_their_image(tmp_path, monkeypatch):
    result = check_resume(EXPERIMENT, tmp_path, monkeypatch, stop=5)
    assert {row["astray"] for row in result.rows} == {0.0}
    assert result.summary["validation"]["pixel_accuracy"] > 0.7
    assert result.outputs("validation").shape == (21, SIZE, SIZE, 3)


def test_devices_agree(tmp_path):
    check_devices(EXPERIMENT, tmp_path)
