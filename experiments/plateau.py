"""A constant learning rate stops improving: decrease it on a plateau, in steps, or as a cosine.

Lecture: "Training: decrease the learning rate on a plateau". Sources: He et al. 2015, section 3.4
(divided by 10 when the error plateaus); Loshchilov and Hutter 2017 (cosine, without restarts).

    python -m experiments.plateau                           MLP on Fashion-MNIST, four members
    python -m experiments.plateau --optimizer.learning-rate 0.05 --control.plateau-patience 3

Cost: 5 minutes on two CPU cores.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

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
    check_durations,
    compute_dtype,
)
from cnn_jax.visual import compared_curves
from experiments.tools.figures import classification_figures
from experiments.tools.run import run


@dataclass(frozen=True)
class Config:
    """The same network and peak rate with four learning rate schedules."""

    hidden: tuple[int, ...] = (256, 128, 100)
    """Neurons of the MLP's hidden layers."""
    milestones: tuple[str, ...] = ("12 epochs", "18 epochs")
    """When the rate of the member "step" is multiplied by optimizer.decay_factor."""
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(
        # The members set the schedule.
        default_factory=lambda: OptimizerConfig(learning_rate=0.1, nesterov=False, l2=5e-4)
    )
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(duration="24 epochs"))
    control: ControlConfig = field(default_factory=lambda: ControlConfig(plateau_patience=2))
    """Decrease on plateau is of the member "plateau" alone; early stopping is of all members."""

    def __post_init__(self) -> None:
        check_range(self, 1, hidden=self.hidden)
        check_durations(self, milestones=self.milestones)


SMOKE = replace(
    Config(),
    hidden=(32,),
    milestones=("4 steps", "8 steps"),
    data=DataConfig(name="digits"),
    training=TrainingConfig(duration="12 steps", batch_size=64, evaluate_every="2 steps"),
    control=ControlConfig(plateau_patience=1),
)


def build(config: Config) -> dict[str, Experiment]:
    """One experiment per schedule, on the same data."""
    dataset = load_dataset(config.data, default="fashion_mnist")
    model = MLP(
        config.hidden,
        dataset.num_classes,
        kernel_init="he",
        dtype=compute_dtype(config.training.precision),
    )
    constant = replace(config.optimizer, schedule="constant")
    no_plateau = replace(config.control, plateau_patience=0)
    courses = {
        "constant": (constant, no_plateau),
        "plateau": (constant, config.control),
        "step": (
            replace(config.optimizer, schedule="step", milestones=config.milestones),
            no_plateau,
        ),
        "cosine": (replace(config.optimizer, schedule="cosine"), no_plateau),
    }
    figures = {name: classification_figures()[name] for name in ("curves", "confusion")}
    return {
        name: Experiment(
            dataset=dataset,
            task=Classification(model),
            optimizer=optimizer,
            training=config.training,
            control=control,
            figures=figures,
        )
        for name, (optimizer, control) in courses.items()
    }


def compare(results: Mapping[str, Result]) -> dict[str, Any]:
    """Loss, accuracy and learning rate of each member over the steps."""
    first = next(iter(results.values()))
    dataset, split = first.experiment.dataset, first.held_out
    runs = {
        f"{name}: {100 * result.summary[split]['accuracy']:.2f}%": result.rows
        for name, result in results.items()
    }
    title = f"{dataset.title}: learning rate schedules, {split} accuracy in the legend"
    return {"plateau": compared_curves(runs, ("loss", "accuracy", "learning_rate"), title=title)}


if __name__ == "__main__":
    run(Config, build, smoke=SMOKE, compare=compare)
