"""The directory of a run without its training: a network with random weights."""

from pathlib import Path
from typing import Any

import jax

from cnn_jax.data import DataConfig, load_dataset
from cnn_jax.models import create_model
from cnn_jax.tasks import Classification
from cnn_jax.training import Checkpoints, Experiment, TrainingConfig, Variables
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
    save_run(directory, "resnet_cifar", config, experiment, seed=seed)
    return experiment


def save_run(
    directory: Path, name: str, config: Any, experiment: Experiment, *, seed: int = 0
) -> Variables:
    """Write what a run of that name and configuration has after 3 steps, and return its weights."""
    dataset, task = experiment.dataset, experiment.task
    about = {"name": dataset.name, "title": dataset.title}
    networks = describe_networks({"": experiment}, config)
    claim(directory, identity(name, config, seed, about), networks)
    params, model_state = jax.jit(lambda key: task.init(key, dataset.spec))(jax.random.key(seed))
    checkpoints = Checkpoints(directory / "checkpoints", best_metric=task.best_metric)
    checkpoints.save(3, {"state": {"params": params, "model_state": model_state}})
    checkpoints.close()
    return {"params": params, **model_state}


def finish(directory: Path, accuracy: float) -> None:
    """Write what a run writes at its end, with a few rows of metrics."""
    summary = {"step": 3, "weights_step": 3, "test": {"loss": 0.5, "accuracy": accuracy}}
    write_summary(directory, summary)
    lines = [f"{step},0,{split},0.{7 - step},{accuracy}" for step in (1, 3) for split in SPLITS]
    (directory / "metrics.csv").write_text(
        "\n".join(["step,epoch,split,loss,accuracy", *lines, ""])
    )


SPLITS = ("train", "validation")
