"""The learning rate decides: too low is slow, too high fails; try Adam with different ones.

Lecture: "Training: Adam and the choice of its rate". All rates train at once as one program, and
the validation split selects one. Other experiments do the same with --sweep.learning-rate.

    python -m experiments.learning_rates                    9 rates, Adam, 5 epochs
    python -m experiments.learning_rates --sweep.learning-rate 3e-4 1e-3 3e-3
    python -m experiments.bench sweep                       speed compared with one rate at a time
"""

from dataclasses import dataclass, field, replace

from cnn_jax.data import DataConfig, load_dataset
from cnn_jax.errors import check_range
from cnn_jax.models import MLP
from cnn_jax.tasks import Classification
from cnn_jax.training import (
    ControlConfig,
    Experiment,
    OptimizerConfig,
    SweepConfig,
    TrainingConfig,
    compute_dtype,
)
from experiments.tools.figures import classification_figures
from experiments.tools.run import run


@dataclass(frozen=True)
class Config:
    """A multilayer perceptron on Fashion-MNIST with many learning rates."""

    hidden: tuple[int, ...] = (256, 128, 100)
    """Neurons of each hidden layer."""
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(
        # This rate is used only without a sweep.
        default_factory=lambda: OptimizerConfig(name="adam", learning_rate=1e-3)
    )
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(duration="5 epochs"))
    control: ControlConfig = field(default_factory=ControlConfig)

    def __post_init__(self) -> None:
        check_range(self, 1, hidden=self.hidden)


RATES = SweepConfig((1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1))
SMOKE = replace(
    Config(),
    hidden=(32,),
    data=DataConfig(name="digits"),
    training=TrainingConfig(duration="12 steps", batch_size=64),
)


def build(config: Config) -> Experiment:
    """The experiment of one rate."""
    dataset = load_dataset(config.data, default="fashion_mnist")
    dtype = compute_dtype(config.training.precision)
    model = MLP(config.hidden, dataset.num_classes, kernel_init="he", dtype=dtype)
    figures = classification_figures()
    del figures["filters"]
    return Experiment(
        dataset=dataset,
        task=Classification(model),
        optimizer=config.optimizer,
        training=config.training,
        control=config.control,
        figures=figures,
    )


if __name__ == "__main__":
    run(Config, build, smoke=SMOKE, sweep=RATES)
