"""What an experiment may ask for: pretrained variables, float inputs, layers' gradients, mixing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.data import ArraySplit, Dataset, mixup
from cnn_jax.models import MLP
from cnn_jax.tasks import Classification, Regression
from cnn_jax.training import (
    Checkpoints,
    Experiment,
    OptimizerConfig,
    Result,
    TrainingConfig,
    train,
)
from tests.tolerance import assert_close
from tests.training.small import ConvNet, advance, dataset, one_device, ways

TRAINING = TrainingConfig(duration="3 steps", batch_size=32, log_every="1 step")
EXPERIMENT = Experiment(
    dataset=dataset(),
    task=Classification(ConvNet()),
    optimizer=OptimizerConfig(learning_rate=0.1),
    training=TRAINING,
)


def run(directory: Path, experiment: Experiment, **options: Any) -> Result:
    directory.mkdir(exist_ok=True)
    return train(experiment, directory, one_device(), seed=0, title="test", **options)


def test_a_run_starts_from_an_earlier_one_s_variables(tmp_path: Path) -> None:
    first = run(tmp_path / "first", EXPERIMENT)

    def continued(fresh: dict[str, Any], earlier: Any) -> dict[str, Any]:
        assert jax.tree.structure(fresh) == jax.tree.structure(earlier["first"].variables)
        return dict(earlier["first"].variables)

    still = replace(EXPERIMENT, optimizer=OptimizerConfig(learning_rate=0.0), initialize=continued)
    second = run(tmp_path / "second", still, earlier={"first": first})
    jax.tree.map(
        np.testing.assert_array_equal, second.variables["params"], first.variables["params"]
    )


def test_variables_of_another_model_are_refused(tmp_path: Path) -> None:
    def headless(fresh: dict[str, Any], _: Any) -> dict[str, Any]:
        return fresh | {"params": {"Conv_0": fresh["params"]["Conv_0"]}}

    with pytest.raises(ValueError) as caught:
        run(tmp_path, replace(EXPERIMENT, initialize=headless))
    assert "['params']['Linear_0']['kernel']: missing, expected (4, 4)" in str(caught.value)


def line(n: int, seed: int) -> ArraySplit:
    x = np.random.default_rng(seed).uniform(-1, 1, (n, 1)).astype(np.float32)
    return ArraySplit({"image": x, "label": 3 * x + 1})


def test_a_function_is_learned_from_points(tmp_path: Path) -> None:
    points = Dataset(
        name="line",
        title="3 x + 1",
        splits={"train": line(64, 0), "validation": line(16, 1)},
        class_names=(),
    )
    experiment = Experiment(
        dataset=points,
        task=Regression(MLP(hidden=(), num_classes=1)),
        optimizer=OptimizerConfig(learning_rate=0.1, momentum=0.0, nesterov=False),
        training=replace(TRAINING, duration="200 steps", save_every="50 steps"),
    )
    result = run(tmp_path, experiment)
    head = result.variables["params"]["head"]
    assert_close(head["kernel"], np.full((1, 1), 3.0), rtol=1e-3)
    assert_close(head["bias"], np.ones(1), rtol=1e-3)
    assert result.summary["validation"]["rmse"] < 1e-3
    labels = points.splits["validation"].arrays["label"]
    assert_close(result.outputs("validation"), labels, rtol=1e-3)


def test_each_layer_s_gradient_norm_is_a_column(tmp_path: Path) -> None:
    result = run(tmp_path, replace(EXPERIMENT, training=replace(TRAINING, layer_gradients=True)))
    rows = [row for row in result.rows if row["split"] == "train"]
    layers = [f"grad_norm/{name}" for name in ("BatchNorm_0", "Conv_0", "Linear_0")]
    for row in rows:
        together = np.sqrt(sum(row[name] ** 2 for name in layers))
        assert_close(together, row["grad_norm"], rtol=1e-5)
    header = (tmp_path / "metrics.csv").read_text().splitlines()[0]
    assert header.endswith(",".join(["grad_norm", *layers, "learning_rate"]))


def test_mixing_does_not_depend_on_the_devices() -> None:
    mixed = replace(dataset(), mix=mixup(1.0))
    with jax.enable_x64(True):
        results = {
            name: advance(way, Classification(ConvNet()), mixed, 4) for name, way in ways().items()
        }
        plain = advance(one_device(), Classification(ConvNet()), dataset(), 4)
    # Images are mixed in float32, whatever the model's precision.
    assert_close(results["jit"], results["one device"], rtol=1e-6)
    assert_close(results["pmap"], results["one device"], rtol=1e-6)
    with pytest.raises(AssertionError):
        assert_close(plain, results["one device"], rtol=1e-3)


def test_a_loss_s_best_checkpoint_is_the_lowest(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, best_metric="loss", higher_is_better=False)
    for step, loss in ((1, 3.0), (2, 1.0), (3, 2.0), (4, 2.5), (5, 2.2)):
        checkpoints.save(step, {"a": jnp.ones(2)}, {"loss": loss})
    checkpoints.wait()
    assert checkpoints.best_step() == 2
    checkpoints.close()
    assert {int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()} == {2, 4, 5}
