"""An MLP on Fashion-MNIST: four losses, each of its own output layer, train the same network.

Lecture: "Multilayer perceptron", "Output layers and losses". Reference: the table of Xiao, Rasul
and Vollgraf 2017 (github.com/zalandoresearch/fashion-mnist): MLP 256-128-100 88.33%, two
convolutions with fewer than 100,000 parameters 92.5%.

    python -m experiments.mlp_fashion_mnist                 MLP 256-128-100, softmax, 30 epochs
    python -m experiments.mlp_fashion_mnist --loss all      all four losses and their comparison
    python -m experiments.mlp_fashion_mnist --model cnn     two convolutions, 83,562 parameters
    … --data.train train --data.validation none             on all 60,000 training images

Cost on two CPU cores: 1 to 2 minutes an MLP.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from flax import linen as nn

from cnn_jax.data import DataConfig, Dataset, load_dataset, random_flip
from cnn_jax.models import MLP, SimpleCNN
from cnn_jax.tasks import Classification
from cnn_jax.training import Experiment, OptimizerConfig, Result, TrainingConfig, compute_dtype
from cnn_jax.visual import compared_curves
from experiments.tools.figures import classification_figures
from experiments.tools.run import run

Loss = Literal["softmax", "hinge", "logistic", "squared"]
LOSSES: tuple[Loss, ...] = get_args(Loss)
LOSS_NAMES = {
    "softmax": "softmax cross entropy",
    "hinge": "multiclass hinge",
    "logistic": "logistic, one against the rest",
    "squared": "squared error",
}


@dataclass(frozen=True)
class Config:
    """Multilayer perceptron or small convolutional network on Fashion-MNIST."""

    model: Literal["mlp", "cnn"] = "mlp"
    """mlp: fully connected; cnn: two convolutions, each pooled, and a linear layer."""
    loss: Literal["softmax", "hinge", "logistic", "squared", "all"] = "softmax"
    """What is minimized; all trains with each of the four and compares them."""
    hidden: tuple[int, ...] = (256, 128, 100)
    """Neurons of the MLP's hidden layers."""
    dropout: float | None = None
    """Probability of a zero: after the MLP's hidden layers (by default 0.1), before the CNN's
    linear layer (0.3)."""
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            name="adamw", learning_rate=2e-3, schedule="one_cycle", weight_decay=0.1
        )
    )
    training: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(duration="30 epochs", log_every="100 steps")
    )


SMOKE = replace(
    Config(),
    loss="all",
    hidden=(32,),
    data=DataConfig(name="digits"),
    training=TrainingConfig(duration="12 steps", batch_size=64, log_every="4 steps"),
)


def load(config: DataConfig) -> Dataset:
    """Fashion-MNIST, or what else is named; mirrored clothes are clothes."""
    return load_dataset(config, default="fashion_mnist", augment=[random_flip()])


def make_model(config: Config, num_classes: int) -> nn.Module:
    """The network that the configuration names."""
    dtype = compute_dtype(config.training.precision)
    default = {"mlp": 0.1, "cnn": 0.3}[config.model]
    dropout = default if config.dropout is None else config.dropout
    if config.model == "cnn":
        return SimpleCNN(kernel_size=5, dropout=dropout, num_classes=num_classes, dtype=dtype)
    return MLP(config.hidden, num_classes, dropout=dropout, kernel_init="he", dtype=dtype)


def build(config: Config) -> Experiment | dict[str, Experiment]:
    """One experiment, or one a loss, on the same data."""
    dataset = load(config.data)

    def experiment(loss: Loss) -> Experiment:
        return Experiment(
            dataset=dataset,
            task=Classification(make_model(config, dataset.num_classes), loss),
            optimizer=config.optimizer,
            training=config.training,
            figures=figures(config.model, loss),
        )

    if config.loss == "all":
        return {loss: experiment(loss) for loss in LOSSES}
    return experiment(config.loss)


def figures(model: str, loss: Loss) -> dict[str, Callable[[Result], Any]]:
    """The classification figures that make sense for a network and a loss."""
    all_figures = classification_figures()
    if model == "mlp":
        del all_figures["filters"]
    if loss != "softmax":
        # Its captions are the softmax's probabilities.
        del all_figures["mistakes"]
    return all_figures


def compare(results: Mapping[str, Result]) -> dict[str, Any]:
    """Accuracy over the steps with each loss, and that on the held-out split in the end."""
    if len(results) == 1:
        return {}
    first = next(iter(results.values()))
    dataset, split = first.experiment.dataset, first.held_out
    runs = {
        f"{LOSS_NAMES[name]}: {100 * result.summary[split]['accuracy']:.2f}%": result.rows
        for name, result in results.items()
    }
    title = f"{dataset.title}: the same network with each loss, {split} accuracy in the legend"
    return {"losses": compared_curves(runs, quantities=("accuracy",), title=title)}


if __name__ == "__main__":
    run(Config, build, smoke=SMOKE, compare=compare)
