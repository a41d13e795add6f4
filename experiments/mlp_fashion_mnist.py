"""An MLP on Fashion-MNIST: four losses, each with its own output layer, train the same network.

Lecture: "Multilayer perceptron", "Output layers and losses". Reference: the table of Xiao, Rasul
and Vollgraf 2017 (github.com/zalandoresearch/fashion-mnist): MLP 256-128-100 88.33%, two
convolutions with fewer than 100,000 parameters 92.5%.

    python -m experiments.mlp_fashion_mnist                 MLP 256-128-100, softmax, 30 epochs
    python -m experiments.mlp_fashion_mnist --loss all      all four losses and their comparison
    python -m experiments.mlp_fashion_mnist --recipe cnn    two convolutions, 89,242 parameters
    … --data.train train --data.validation none             on all 60,000 training images

Cost on two CPU cores: 1 to 2 minutes per MLP, 20 minutes for the convolutional network.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from flax import linen as nn

from cnn_jax.data import Augment, DataConfig, Dataset, load_dataset, random_crop, random_flip
from cnn_jax.errors import check_range
from cnn_jax.models import MLP, SimpleCNN
from cnn_jax.tasks import Classification
from cnn_jax.training import (
    ControlConfig,
    Experiment,
    OptimizerConfig,
    Result,
    TrainingConfig,
    compute_dtype,
)
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

    recipe: Literal["mlp", "cnn"] = "mlp"
    """mlp: fully connected, 30 epochs; cnn: two convolutions, each pooled, and a linear layer, 20
    epochs, with random crops."""
    loss: Literal["softmax", "hinge", "logistic", "squared", "all"] = "softmax"
    """The loss that is minimized; all trains with each of the four and compares them."""
    hidden: tuple[int, ...] = (256, 128, 100)
    """Neurons of the MLP's hidden layers."""
    widths: tuple[int, int] = (48, 96)
    """Channels of the CNN's convolutions."""
    dropout: float = 0.1
    """Dropout probability, after the MLP's hidden layers or before the CNN's linear layer."""
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(
            name="adamw", learning_rate=2e-3, schedule="one_cycle", weight_decay=0.1
        )
    )
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(duration="30 epochs"))
    control: ControlConfig = field(default_factory=ControlConfig)

    def __post_init__(self) -> None:
        check_range(self, 1, hidden=self.hidden, widths=self.widths)
        check_range(self, 0, 1, dropout=self.dropout)


MLP_RECIPE = Config()
CNN_RECIPE = Config(
    recipe="cnn",
    dropout=0.3,
    optimizer=replace(MLP_RECIPE.optimizer, learning_rate=3e-3, weight_decay=0.05),
    training=replace(MLP_RECIPE.training, duration="20 epochs"),
)
RECIPES = {"mlp": MLP_RECIPE, "cnn": CNN_RECIPE}
SMOKE = replace(
    Config(),
    loss="all",
    hidden=(32,),
    data=DataConfig(name="digits"),
    training=TrainingConfig(duration="12 steps", batch_size=64),
)


def load(config: Config) -> Dataset:
    """Load Fashion-MNIST or the named data set, with mirror images as augmentation."""
    augment: list[Augment] = [random_flip()]
    if config.recipe == "cnn":
        augment = [random_crop(padding=1), *augment]
    return load_dataset(config.data, default="fashion_mnist", augment=augment)


def make_model(config: Config, num_classes: int) -> nn.Module:
    """The network that the configuration names."""
    dtype = compute_dtype(config.training.precision)
    if config.recipe == "cnn":
        return SimpleCNN(
            config.widths, dropout=config.dropout, num_classes=num_classes, dtype=dtype
        )
    return MLP(config.hidden, num_classes, dropout=config.dropout, kernel_init="he", dtype=dtype)


def build(config: Config) -> Experiment | dict[str, Experiment]:
    """One experiment, or one per loss on the same data."""
    dataset = load(config)

    def experiment(loss: Loss) -> Experiment:
        return Experiment(
            dataset=dataset,
            task=Classification(make_model(config, dataset.num_classes), loss),
            optimizer=config.optimizer,
            training=config.training,
            control=config.control,
            figures=figures(config.recipe, loss),
        )

    if config.loss == "all":
        return {loss: experiment(loss) for loss in LOSSES}
    return experiment(config.loss)


def figures(recipe: str, loss: Loss) -> dict[str, Callable[[Result], Any]]:
    """The classification figures that make sense for a recipe and a loss."""
    all_figures = classification_figures()
    if recipe == "mlp":
        del all_figures["filters"]
    if loss != "softmax":
        # Its captions are softmax probabilities.
        del all_figures["mistakes"]
    return all_figures


def compare(results: Mapping[str, Result]) -> dict[str, Any]:
    """Accuracy over the steps with each loss, and the final accuracy on the held-out split."""
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
    run(Config, build, recipes=RECIPES, smoke=SMOKE, compare=compare)
