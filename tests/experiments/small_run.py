"""The directory of a run without its training: a perceptron with random weights."""

from pathlib import Path

import jax
import numpy as np

from cnn_jax.data import DataConfig, load_dataset
from cnn_jax.models import create_model
from cnn_jax.tasks import Classification
from cnn_jax.training import Checkpoints, Experiment, TrainingConfig
from experiments import resnet_cifar
from experiments.tools.describe_run import describe_networks
from experiments.tools.run_directory import claim, identity, write_summary


def make_run(
    directory: Path, data: DataConfig, *, seed: int = 0, training: TrainingConfig | None = None
) -> Experiment:
    """Write config.json and the checkpoint of step 3, as the run `resnet_cifar` would."""
    dataset = load_dataset(data, default="digits")
    model = create_model("mlp", hidden=(), num_classes=dataset.num_classes)
    training = training or TrainingConfig()
    config = resnet_cifar.Config(data=data, training=training)
    experiment = Experiment(dataset, Classification(model), config.optimizer, training)
    about = {"name": dataset.name, "title": dataset.title}
    networks = describe_networks({"": experiment}, config)
    claim(directory, identity("resnet_cifar", config, seed, about), networks)
    inputs = np.zeros((1, *dataset.image_shape), np.float32)
    checkpoints = Checkpoints(directory / "checkpoints", best_metric="accuracy")
    state = {"params": model.init(jax.random.key(seed), inputs)["params"], "model_state": {}}
    checkpoints.save(3, {"state": state})
    checkpoints.close()
    return experiment


def finish(directory: Path, accuracy: float) -> None:
    """Write what a run writes at its end, with a few rows of metrics."""
    summary = {"step": 3, "weights_step": 3, "test": {"loss": 0.5, "accuracy": accuracy}}
    write_summary(directory, summary)
    lines = [f"{step},0,{split},0.{7 - step},{accuracy}" for step in (1, 3) for split in SPLITS]
    (directory / "metrics.csv").write_text(
        "\n".join(["step,epoch,split,loss,accuracy", *lines, ""])
    )


SPLITS = ("train", "validation")
