"""A detector: padded boxes, outputs as a dict, a metric of all outputs on the host."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from cnn_jax.data import ArraySplit, Dataset
from cnn_jax.layers import Linear, relu
from cnn_jax.training import Experiment, OptimizerConfig, TrainingConfig
from tests.probes.checks import check_devices, check_resume

BOXES = 3


def scenes(seed: int, n: int) -> ArraySplit:
    """Points whose first numbers are the boxes of an image, of which there are one to three."""
    rng = np.random.default_rng(seed)
    boxes = rng.uniform(0, 8, (n, BOXES, 4)).astype(np.float32)
    labels = np.where(np.arange(BOXES) < rng.integers(1, BOXES + 1, (n, 1)), 0, -1)
    boxes = boxes * (labels >= 0)[..., None]
    image = np.concatenate([boxes.reshape(n, -1), labels], axis=1).astype(np.float32)
    return ArraySplit({"image": image, "boxes": boxes, "box_labels": labels.astype(np.int32)})


class Detector(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> dict[str, Any]:
        hidden = relu(Linear(32, name="hidden")(x))
        boxes = Linear(BOXES * 4, name="boxes")(hidden).reshape(-1, BOXES, 4)
        return {"boxes": boxes, "scores": Linear(BOXES, name="scores")(hidden)}


@dataclass(frozen=True)
class Detection:
    """Absolute error of the boxes that are there, and whether they are there."""

    metrics = ("loss", "median_error", "found")
    best_metric, higher_is_better = "median_error", False
    model = Detector()

    def init(self, key: Any, spec: Any) -> Any:
        return self.model.init(key, jnp.zeros((1, *spec["image"].shape)))["params"], {}

    def loss_fn(self, params: Any, model_state: Any, batch: Any, key: Any, train: bool) -> Any:
        outputs = self.predict(params, model_state, batch)
        there = (batch["box_labels"] >= 0) * batch["weight"][:, None]
        errors = jnp.abs(outputs["boxes"] - batch["boxes"]).sum(-1)
        margins = jnp.where(batch["box_labels"] >= 0, 1, -1) * outputs["scores"]
        absent = jnp.logaddexp(0, -margins) * batch["weight"][:, None]
        sums = {"weight": jnp.sum(there).astype(errors.dtype)}
        return jnp.sum(errors * there + absent), (model_state, sums)

    def predict(self, params: Any, model_state: Any, batch: Any) -> dict[str, Any]:
        return self.model.apply({"params": params}, batch["image"])

    def rows(self, params: Any, model_state: Any, batch: Any) -> dict[str, Any]:
        targets = {"targets": batch["boxes"], "labels": batch["box_labels"]}
        return self.predict(params, model_state, batch) | targets

    def summarize(self, sums: Any) -> dict[str, float]:
        return {"loss": float(sums["loss"]) / float(sums["weight"])}

    def measure(self, rows: Any) -> dict[str, float]:
        there = rows["labels"] >= 0
        errors = np.abs(rows["boxes"] - rows["targets"]).sum(-1)[there]
        found = np.mean((rows["scores"] > 0) == there)
        return {"median_error": float(np.median(errors)), "found": float(found)}


EXPERIMENT = Experiment(
    dataset=Dataset(
        name="scenes",
        title="scenes",
        splits={"train": scenes(0, 256), "validation": scenes(1, 45)},
        class_names=("thing",),
    ),
    task=Detection(),
    optimizer=OptimizerConfig(name="adam", learning_rate=0.01),
    training=TrainingConfig(duration="20 steps", batch_size=32, eval_batch_size=16),
)


def test_a_metric_on_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = check_resume(EXPERIMENT, tmp_path, monkeypatch, stop=7)
    outputs, split = result.outputs("validation"), EXPERIMENT.dataset.splits["validation"]
    assert outputs["boxes"].shape == (45, BOXES, 4) and outputs["scores"].shape == (45, BOXES)
    rows = outputs | {"targets": split.arrays["boxes"], "labels": split.arrays["box_labels"]}
    measured = Detection().measure(rows)
    assert measured == {name: result.summary["validation"][name] for name in measured}
    first, last = [row for row in result.rows if row["split"] == "validation"][::2]
    assert last["median_error"] < first["median_error"]


def test_devices_agree(tmp_path: Path) -> None:
    check_devices(EXPERIMENT, tmp_path)
