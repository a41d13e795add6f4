"""Training from Python: arrays of one's own, any optax optimizer, what does not fit."""

from dataclasses import replace

import jax
import numpy as np
import optax
import pytest

from cnn_jax.data import from_arrays
from cnn_jax.errors import ConfigError, UserError
from cnn_jax.tasks import Classification
from cnn_jax.training import Experiment, OptimizerConfig, TrainingConfig, sweep, train
from tests.training.small import ConvNet, one_device

SHORT = TrainingConfig("6 steps", batch_size=8)


def of_two_classes(count: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """Dark and bright noise, without a channel axis."""
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=count)
    images = rng.integers(0, 100, (count, 8, 8)) + 120 * labels[:, None, None]
    return images.astype(np.uint8), labels


def test_a_few_lines_train(tmp_path):
    dataset = from_arrays({"train": of_two_classes(), "test": of_two_classes(16)})
    task = Classification(ConvNet(num_classes=dataset.num_classes))
    experiment = Experiment(dataset, task, optax.adam(1e-2), TrainingConfig("20 epochs", 8))
    result = train(experiment, str(tmp_path / "mine"))
    assert result.summary["test"]["accuracy"] == 1.0
    assert result.outputs("test").shape == (16, 2)
    assert (tmp_path / "mine" / "checkpoints" / str(result.summary["step"])).is_dir()
    assert "learning_rate" not in result.rows[0]


def test_an_optimizer_of_optax_and_ours_of_the_same_name_give_the_same_bits(tmp_path):
    dataset = from_arrays({"train": of_two_classes()})
    task = Classification(ConvNet(num_classes=2))
    results = [
        train(Experiment(dataset, task, optimizer, SHORT), tmp_path / name, one_device())
        for name, optimizer in {
            "ours": OptimizerConfig(name="adam", learning_rate=1e-2),
            "optax": optax.adam(1e-2),
        }.items()
    ]
    jax.tree.map(np.testing.assert_array_equal, *(one.variables for one in results))


def test_more_classes_than_outputs_are_refused_before_the_first_step(tmp_path):
    images, labels = of_two_classes()
    dataset = from_arrays({"train": (images, labels + 3)}, class_names="abcde")
    experiment = Experiment(dataset, Classification(ConvNet(2)), OptimizerConfig(), SHORT)
    with pytest.raises(ConfigError, match="2 outputs, and arrays has 5 classes; .*num_classes=5"):
        train(experiment, tmp_path)


def test_a_sweep_needs_an_optimizer_whose_rate_it_can_set(tmp_path):
    dataset = from_arrays({"train": of_two_classes()})
    experiment = Experiment(dataset, Classification(ConvNet(2)), optax.sgd(0.1), SHORT)
    with pytest.raises(ConfigError, match="sets the learning rate of an OptimizerConfig"):
        sweep(experiment, [0.1, 0.2], tmp_path, one_device())


@pytest.mark.parametrize(
    ("config", "change", "message"),
    [
        (SHORT, {"batch_size": 0}, "TrainingConfig.batch_size must be at least 1, got 0"),
        (SHORT, {"eval_batch_size": -1}, "eval_batch_size must be at least 1, got -1"),
        (SHORT, {"accumulate": 0}, "accumulate must be at least 1, got 0"),
        (SHORT, {"ema_decay": 2.0}, "ema_decay must be at least 0 and at most 1, got 2.0"),
        (OptimizerConfig(), {"learning_rate": -1.0}, "learning_rate must be at least 0, got -1.0"),
        (OptimizerConfig(), {"learning_rate": float("nan")}, "learning_rate must be .* got nan"),
        (OptimizerConfig(), {"learning_rate": float("inf")}, "learning_rate must be .* got inf"),
        (OptimizerConfig(), {"momentum": 2.0}, "momentum must be at least 0 and at most 1"),
        (OptimizerConfig(), {"clip_norm": -1.0}, "flag that ends in clip-norm"),
        (OptimizerConfig(), {"weight_decay": -0.1}, "weight_decay must be at least 0"),
    ],
)
def test_values_out_of_range_are_refused_where_they_are_declared(config, change, message):
    with pytest.raises(UserError, match=message):
        replace(config, **change)
