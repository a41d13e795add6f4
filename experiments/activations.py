"""Vanishing gradients: ten sigmoid layers learn nothing, ten ReLU layers do.

Lecture: "Activation functions": sigmoid, tanh, ReLU, LeakyReLU, ELU. Source: Glorot and Bengio
2010; He et al. 2015, "Delving Deep into Rectifiers".

    python -m experiments.activations                       Fashion-MNIST, 5 epochs each
    python -m experiments.activations --activations sigmoid selu --kernel-inits he

The derivative of the sigmoid is at most 1/4, so its gradient vanishes in the backward pass with any
kernels. The derivative of tanh is at most 1, that of ReLU is 0 or 1: their gradients vanish with
kernels that are too small, such as PyTorch's default, and not with He's initialization. Therefore
every activation is trained from both.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from cnn_jax.data import DataConfig, load_dataset
from cnn_jax.errors import check_range
from cnn_jax.models import MLP
from cnn_jax.tasks import Classification
from cnn_jax.training import (
    ControlConfig,
    Experiment,
    OptimizerConfig,
    Result,
    TrainingConfig,
    compute_dtype,
)
from cnn_jax.visual import (
    NothingToDraw,
    gradients_by_layer,
    gradients_over_training,
    grouped_bars,
    training_curves,
)
from experiments.tools.run import run

INITS = {"torch": "PyTorch's default", "he": "He", "glorot": "Glorot"}


@dataclass(frozen=True)
class Config:
    """The same deep MLP with each activation."""

    activations: tuple[str, ...] = ("sigmoid", "tanh", "relu", "leaky_relu", "elu")
    """Names of activations in cnn_jax.layers.activation."""
    kernel_inits: tuple[Literal["torch", "he", "glorot"], ...] = ("torch", "he")
    """Initializations; every activation is trained with each."""
    depth: int = 10
    """Number of hidden layers."""
    width: int = 100
    """Neurons of each hidden layer."""
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(
        # Not Adam, which would rescale the gradient of each layer.
        default_factory=lambda: OptimizerConfig(name="sgd", learning_rate=0.01, nesterov=False)
    )
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(duration="5 epochs", layer_gradients=True)
    )
    control: ControlConfig = field(default_factory=ControlConfig)

    def __post_init__(self) -> None:
        check_range(self, 1, depth=self.depth, width=self.width)


SMOKE = replace(
    Config(),
    activations=("sigmoid", "relu"),
    depth=3,
    width=16,
    data=DataConfig(name="digits"),
    training=TrainingConfig(duration="12 steps", batch_size=64, layer_gradients=True),
)


def build(config: Config) -> dict[str, Experiment]:
    """One experiment per activation and initialization, all on the same data."""
    dataset = load_dataset(config.data, default="fashion_mnist")

    def experiment(activation: str, kernel_init: Literal["torch", "he", "glorot"]) -> Experiment:
        model = MLP(
            (config.width,) * config.depth,
            dataset.num_classes,
            activation,
            kernel_init=kernel_init,
            dtype=compute_dtype(config.training.precision),
        )
        return Experiment(
            dataset=dataset,
            task=Classification(model),
            optimizer=config.optimizer,
            training=config.training,
            control=config.control,
            figures={"curves": _curves},
        )

    return {
        f"{activation}-{kernel_init}": experiment(activation, kernel_init)
        for kernel_init in config.kernel_inits
        for activation in config.activations
    }


def compare(results: Mapping[str, Result]) -> dict[str, Any]:
    """Gradients by layer at the start, at the end and over the training; accuracies."""
    title = next(iter(results.values())).experiment.dataset.title
    by_init: dict[str, dict[str, Result]] = {}
    for result in results.values():
        model = _model(result)
        by_init.setdefault(model.kernel_init, {})[model.activation] = result

    moments: dict[str, dict[str, np.ndarray]] = {}
    panels: dict[str, tuple[list[int], np.ndarray]] = {}
    accuracies: dict[str, dict[str, float]] = {}
    for init, runs in by_init.items():
        gradients = {activation: layer_gradients(result) for activation, result in runs.items()}
        steps = next(iter(gradients.values()))[0]
        for row, when in ((0, f"steps 1-{steps[0]}"), (-1, f"the last steps to {steps[-1]:,}")):
            moments[f"{INITS[init]} initialization, {when}"] = {
                activation: norms[row] for activation, (_, norms) in gradients.items()
            }
        panels |= {f"{activation}, {INITS[init]}": both for activation, both in gradients.items()}
        split = next(iter(runs.values())).held_out
        accuracies[f"{INITS[init]} initialization"] = {
            activation: 100 * result.summary[split]["accuracy"]
            for activation, result in runs.items()
        }
    depth = len(model.hidden)
    gradients_title = f"{title}, training: gradients of an MLP with {depth} hidden layers"
    return {
        "gradients": gradients_by_layer(moments, title=gradients_title),
        "gradients_over_training": gradients_over_training(panels, title=gradients_title),
        "accuracy": grouped_bars(
            accuracies,
            ylabel="accuracy (%)",
            title=f"{title}, {split}: an MLP with {depth} hidden layers",
        ),
    }


def layer_gradients(result: Result) -> tuple[list[int], np.ndarray]:
    """Steps, and the gradient norm of each layer at these steps, [steps, layers], head last."""
    layers = [f"body/hidden{n}" for n in range(1, len(_model(result).hidden) + 1)]
    rows = [row for row in result.rows if row["split"] == "train"]
    if not rows:
        raise NothingToDraw("there are no gradients of a training of no steps")
    norms = [[float(row[f"grad_norm/{layer}"]) for layer in [*layers, "head"]] for row in rows]
    return [row["step"] for row in rows], np.array(norms)


def _model(result: Result) -> MLP:
    task = result.experiment.task
    assert isinstance(task, Classification) and isinstance(task.model, MLP)
    return task.model


def _curves(result: Result) -> Any:
    return training_curves(result.rows, title=f"{result.experiment.dataset.title}, training")


if __name__ == "__main__":
    run(Config, build, smoke=SMOKE, compare=compare)
