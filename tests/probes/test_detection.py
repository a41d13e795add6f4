"""A detector: padded boxes, outputs as a dict, a metric of all outputs on the host."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from cnn_jax.layers import Linear, relu
from cnn_jax.training import Experiment, OptimizerConfig, TrainingConfig
from tests.probes.checks import check_devices, check_resume
from tests.probes.generated import BOXES, dataset, padded_boxes


class Detector(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> dict[str, Any]:
        hidden = relu(Linear(32)(x))
        boxes = Linear(BOXES * 4)(hidden).reshape(-1, BOXES, 4)
        return {"boxes": boxes, "scores": Linear(BOXES)(hidden)}


@dataclass(frozen=True)
class Detection:
    """Absolute error of the boxes that are there, and whether they are there."""

    metrics = ("loss", "median_error", "found")
    best_metric, higher_is_better = "median_error", False
    model = Detector()

    def init(self, key: Any, spec: Any) -> Any:
        return self.model.init(key, jnp.zeros((1, *spec["image"].shape)))["params"], {}

    def loss_fn(self, params: Any, model_state: Any, batch: Any, key: Any, train: bool) -> Any:
        outputs, weight = self.predict(params, model_state, batch), batch["weight"][:, None]
        there = batch["box_labels"] >= 0
        errors = jnp.abs(outputs["boxes"] - batch["boxes"]).sum(-1) * there
        absent = jnp.logaddexp(0, jnp.where(there, -1, 1) * outputs["scores"])
        return jnp.sum((errors + absent) * weight), (
            model_state,
            {"weight": jnp.sum(there * weight)},
        )

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
    dataset=dataset({"train": padded_boxes(0, 256), "validation": padded_boxes(1, 45)}),
    task=Detection(),
    optimizer=OptimizerConfig(name="adam", learning_rate=0.01),
    training=TrainingConfig(duration="20 steps", batch_size=32, eval_batch_size=16),
)


def test_a_metric_on_the_host(tmp_path, monkeypatch):
    result = check_resume(EXPERIMENT, tmp_path, monkeypatch, stop=7)
    outputs, split = result.outputs("validation"), EXPERIMENT.dataset.splits["validation"]
    rows = outputs | {"targets": split.arrays["boxes"], "labels": split.arrays["box_labels"]}
    measured = Detection().measure(rows)
    assert measured == {name: result.summary["validation"][name] for name in measured}
    errors = [row["median_error"] for row in result.rows if row["split"] == "validation"]
    assert errors[-1] < errors[0]


def test_devices_agree(tmp_path):
    check_devices(EXPERIMENT, tmp_path)
