"""Plain against residual networks: without identity connections, depth hurts.

Lecture: "ResNet vs. plain network". Source: He et al. 2015, section 4.2 and Figure 6.

    python -m experiments.plain_vs_resnet                   20 and 56 layers, 10 epochs each
    python -m experiments.plain_vs_resnet --recipe paper    64,000 steps each, as in the figure
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from cnn_jax.data import DataConfig
from cnn_jax.errors import check_range
from cnn_jax.training import (
    ControlConfig,
    Experiment,
    OptimizerConfig,
    Result,
    TrainingConfig,
)
from cnn_jax.visual import error_curves
from experiments import resnet_cifar
from experiments.tools.run import run


@dataclass(frozen=True)
class Config:
    """Plain and residual networks of several depths."""

    recipe: Literal["fast", "paper"] = "fast"
    """Defaults of the other flags, as in resnet_cifar."""
    depths: tuple[int, ...] = (20, 56)
    """Numbers of layers, each 6n + 2; each is trained as a plain and a residual network."""
    shortcut: Literal["A", "B"] = "A"
    """Shortcut; option A adds no parameters, so the networks differ only in the identity."""
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(
        # A plain network of 56 layers diverges at the rate of residual networks.
        default_factory=lambda: replace(resnet_cifar.FAST.optimizer, learning_rate=0.1)
    )
    training: TrainingConfig = field(default_factory=TrainingConfig)
    control: ControlConfig = field(default_factory=ControlConfig)

    def __post_init__(self) -> None:
        check_range(self, 8, depths=self.depths)


FAST = Config()
PAPER = Config(
    recipe="paper",
    optimizer=resnet_cifar.PAPER.optimizer,
    training=resnet_cifar.PAPER.training,
)
RECIPES = {"fast": FAST, "paper": PAPER}
SMOKE = replace(
    FAST, depths=(8,), data=resnet_cifar.SMOKE.data, training=resnet_cifar.SMOKE.training
)


def build(config: Config) -> dict[str, Experiment]:
    """One experiment per depth and kind, all on the same data."""
    dataset = resnet_cifar.load(config.data)

    def experiment(depth: int, residual: bool) -> Experiment:
        settings = resnet_cifar.Config(
            depth=depth,
            residual=residual,
            shortcut=config.shortcut,
            data=config.data,
            optimizer=config.optimizer,
            training=config.training,
            control=config.control,
        )
        return resnet_cifar.build(settings, dataset)

    kinds = {"plain": False, "resnet": True}
    return {
        f"{kind}-{depth}": experiment(depth, residual)
        for kind, residual in kinds.items()
        for depth in config.depths
    }


def compare(results: Mapping[str, Result]) -> dict[str, Any]:
    """The paper's Figure 6: error over steps."""
    dataset = next(iter(results.values())).experiment.dataset
    rows = {name: result.rows for name, result in results.items()}
    return {"error": error_curves(rows, title=f"{dataset.title}: plain and residual networks")}


if __name__ == "__main__":
    run(Config, build, recipes=RECIPES, smoke=SMOKE, compare=compare)
