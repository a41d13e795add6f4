"""Universal approximation: two hidden layers fit any function, better with more neurons.

Lecture: "Multilayer perceptron", "Universal approximation", output layer: identity. Source:
Cybenko 1989; Hornik, Stinchcombe and White 1989.

    python -m experiments.mlp_regression                    a function of x and one of x and y
    python -m experiments.mlp_regression --activation relu --widths 4 16 64
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from cnn_jax.data import ArraySplit, Dataset
from cnn_jax.errors import check_range
from cnn_jax.models import MLP
from cnn_jax.tasks import Regression
from cnn_jax.training import ControlConfig, Experiment, OptimizerConfig, Result, TrainingConfig
from cnn_jax.visual import error_over_size, function_fits, function_maps, training_curves
from experiments.tools.run import run

GRID = {1: 401, 2: 61}
"""Points per side of the test grid, by the number of variables."""


@dataclass(frozen=True)
class Function:
    """A function on [-1, 1]^inputs."""

    title: str
    inputs: int
    value: Callable[[np.ndarray], np.ndarray]
    """Maps points [n, inputs] to values [n]."""


def _wave(points: np.ndarray) -> np.ndarray:
    x = points[:, 0]
    return np.sin(2 * np.pi * x) + np.sin(5 * np.pi * x) / 2 + np.abs(x)


def _ripples(points: np.ndarray) -> np.ndarray:
    radius = np.linalg.norm(points, axis=1)
    return np.cos(2 * np.pi * radius) * np.exp(-radius)


FUNCTIONS = {
    "wave": Function("f(x) = sin 2πx + ½ sin 5πx + |x|", 1, _wave),
    "ripples": Function("f(x, y) = cos(2πr) exp(-r)", 2, _ripples),
}


@dataclass(frozen=True)
class Config:
    """MLPs with two hidden layers of different widths fit functions."""

    functions: tuple[Literal["wave", "ripples"], ...] = ("wave", "ripples")
    """Functions to fit, each with every width."""
    widths: tuple[int, ...] = (2, 4, 8, 16, 32, 64)
    """Neurons of each of the two hidden layers."""
    activation: str = "tanh"
    """Activation of the hidden layers; the output is linear."""
    points: int = 2048
    """Number of training points, uniformly random."""
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(name="adam", learning_rate=0.01, schedule="cosine")
    )
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            duration="5000 steps",
            batch_size=256,
            evaluate_every="500 steps",
            save_every="5000 steps",
        )
    )
    control: ControlConfig = field(default_factory=ControlConfig)

    def __post_init__(self) -> None:
        check_range(self, 1, widths=self.widths, points=self.points)


SMOKE = replace(
    Config(),
    widths=(2, 8),
    points=256,
    training=TrainingConfig(duration="12 steps", batch_size=64, evaluate_every="4 steps"),
)


def load(name: str, points: int) -> Dataset:
    """Points of a function: random ones for training and validation, a grid for testing."""
    function = FUNCTIONS[name]
    generator = np.random.default_rng(0)
    side = np.linspace(-1, 1, GRID[function.inputs])
    grid = np.stack(np.meshgrid(*[side] * function.inputs), axis=-1)
    places = {
        "train": generator.uniform(-1, 1, (points, function.inputs)),
        "validation": generator.uniform(-1, 1, (1000, function.inputs)),
        "test": grid.reshape(-1, function.inputs),
    }
    splits = {
        split: ArraySplit(
            {
                "image": x.astype(np.float32),
                "label": function.value(x)[:, None].astype(np.float32),
            }
        )
        for split, x in places.items()
    }
    return Dataset(name, function.title, splits, class_names=())


def build(config: Config) -> dict[str, Experiment]:
    """One experiment per function and width."""
    datasets = {name: load(name, config.points) for name in config.functions}
    return {
        f"{name}-{width}": Experiment(
            dataset=dataset,
            task=Regression(MLP((width, width), 1, config.activation)),
            optimizer=config.optimizer,
            training=config.training,
            control=config.control,
            figures={"curves": _curves},
        )
        for name, dataset in datasets.items()
        for width in config.widths
    }


def compare(results: Mapping[str, Result]) -> dict[str, Any]:
    """The fits of each function, and the error over the width."""
    figures: dict[str, Any] = {}
    errors: dict[str, list[float]] = {}
    widths: list[int] = []
    for name in dict.fromkeys(result.experiment.dataset.name for result in results.values()):
        fits = {
            width(result): result
            for result in results.values()
            if result.experiment.dataset.name == name
        }
        widths = list(fits)
        title = FUNCTIONS[name].title
        errors[title] = [result.summary["test"]["rmse"] for result in fits.values()]
        figures[f"fits_{name}"] = _fits(name, fits)
    figures["error_over_width"] = error_over_size(
        widths,
        errors,
        xlabel="neurons in each of two hidden layers",
        ylabel="RMSE",
        title="Error of an MLP over its width, on a test grid",
    )
    return figures


def width(result: Result) -> int:
    """Neurons of each hidden layer."""
    return result.experiment.task.model.hidden[0]


def _curves(result: Result) -> Any:
    return training_curves(result.rows, title=f"{result.experiment.dataset.title}, training")


def _fits(name: str, results: Mapping[int, Result]) -> Any:
    function = FUNCTIONS[name]
    dataset = next(iter(results.values())).experiment.dataset
    split = dataset.splits["test"]
    assert isinstance(split, ArraySplit)
    shape = (math.isqrt(len(split)),) * 2 if function.inputs == 2 else (len(split),)
    target = split.arrays["label"].reshape(shape)
    values = {
        f"{width} + {width}": result.outputs("test").reshape(shape)
        for width, result in results.items()
    }
    title = f"{function.title}, test grid: fits by the neurons of two hidden layers"
    if function.inputs == 1:
        return function_fits(split.arrays["image"][:, 0], target, values, title=title)
    return function_maps(target, values, (-1, 1, -1, 1), title=title)


if __name__ == "__main__":
    run(Config, build, smoke=SMOKE, compare=compare)
