"""How a training scales to many chips, on paper: what breaks first.

Lecture: "Training on many devices". The step is compiled for eight chips, which gives its
operations and what it exchanges; published figures of chips and networks give the times. Nothing is
trained, and no accelerator is needed.

    python -m experiments.scaling                            ResNet-50, 256 images a chip
    python -m experiments.scaling --model vgg16 --batch 64
    python -m experiments.scaling --parallel fsdp --chips 'TPU v5e' H100

The efficiency is that of weak scaling: the rate of a chip among many, as a part of that of a chip
alone. The lower one is without overlap, where the exchange waits for the computation; the upper one
has them at the same time. A real program is between the two.

A trouble is the network where the exchange takes over a tenth of the step, the batch where it is
larger than any that is known to train as well (32,768: Ying et al. 2018), and the input where the
chips of a host take more images than it can decode.

Published: ResNet-50 on 256 P100, 32 images each, has about 90% of the efficiency of 8 (Goyal et al.
2017, figure 7); 1,024 TPU v3 reach 1,050,000 images/s (Ying et al. 2018), 20% of their operations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro
from rich.table import Table

from cnn_jax.data import ArraySplit, Dataset
from cnn_jax.errors import ConfigError, check_range
from cnn_jax.models import create_model
from cnn_jax.tasks import Classification
from cnn_jax.training import (
    Experiment,
    OptimizerConfig,
    TrainingConfig,
    compute_dtype,
    make_parallel,
    prepare_run,
)
from cnn_jax.training.step_cost import StepCost, step_cost
from cnn_jax.visual import efficiency_over_devices, save_figure
from experiments.tools.chips import CHIPS, Chip, exchange_seconds
from experiments.tools.console import standard_console
from experiments.tools.dry_run import in_units, virtual_devices
from experiments.tools.messages import user_errors

DEVICES = 8
"""For which the step is compiled. What it exchanges depends on it only as `chips` says."""
COUNTS = tuple(2**n for n in range(11))
CHIPS_OF_A_HOST = 8
LARGEST_BATCH = 32_768
LARGEST_EXCHANGE = 0.1
"""Share of a step that may be exchange."""


@dataclass(frozen=True)
class Config:
    """What is trained, and on what."""

    model: str = "resnet50"
    """Any classifier."""
    size: int = 224
    """Height and width of the images."""
    classes: int = 1000
    """Number of classes."""
    batch: int = 256
    """Images of a chip in each step."""
    parallel: Literal["jit", "fsdp"] = "jit"
    """As of a run."""
    precision: Literal["bfloat16", "float32"] = "bfloat16"
    """Of the computation."""
    chips: tuple[str, ...] = ("TPU v5e", "TPU v6e", "TPU v5p", "H100")
    """Kinds of chips."""
    utilization: float = 0.17
    """Part of a chip's operations a second that one alone reaches; the default is that of ResNet-50
    on an H200, see BENCHMARKS.md."""
    host_rate: float = 20_000
    """Images a second that a host can decode for its chips, at most 8."""
    workdir: str = "runs"
    """The figure is written to WORKDIR/scaling."""
    smoke: bool = False
    """Take a small network, to test that everything works."""

    def __post_init__(self) -> None:
        check_range(self, 1, size=self.size, classes=self.classes, batch=self.batch)
        check_range(self, 0, 1, above=True, utilization=self.utilization)
        check_range(self, 0, above=True, host_rate=self.host_rate)
        for name in self.chips:
            if name not in CHIPS:
                raise ConfigError(f"--chips: no chip {name!r}; there are {', '.join(CHIPS)}")


@dataclass(frozen=True)
class Step:
    """A step on some chips.

    Attributes:
        chips: their number.
        images: of each chip.
        compute: seconds.
        exchange: seconds, without anything beside it.
    """

    chips: int
    images: int
    compute: float
    exchange: float

    @property
    def without_overlap(self) -> float:
        """The efficiency if the exchange waits for the computation."""
        return self.compute / (self.compute + self.exchange)

    @property
    def with_overlap(self) -> float:
        """The efficiency if they take place at the same time."""
        return self.compute / max(self.compute, self.exchange)

    @property
    def images_per_second(self) -> tuple[float, float]:
        """Of all chips, without overlap and with it."""
        alone = self.chips * self.images / self.compute
        return alone * self.without_overlap, alone * self.with_overlap

    def trouble(self, host_rate: float) -> str:
        """What breaks at this number of chips; "" if nothing does."""
        if 1 - self.without_overlap > LARGEST_EXCHANGE:
            return "network"
        if min(self.chips, CHIPS_OF_A_HOST) * self.images / self.compute > host_rate:
            return "input"
        return "batch" if self.chips * self.images > LARGEST_BATCH else ""


def step_of(cost: StepCost, chip: Chip, count: int, *, images: int, utilization: float) -> Step:
    """The step of a cost on a number of chips."""
    compute = cost.flops / (chip.flops * utilization)
    return Step(count, images, compute, exchange_seconds(cost.collectives, chip, count))


def compiled_cost(config: Config) -> StepCost:
    """What a step needs, from its program for eight chips."""
    shape = (DEVICES * config.batch, config.size, config.size, 3)
    arrays: dict[str, np.ndarray] = {
        # No memory is taken for the images, which are never read.
        "image": np.broadcast_to(np.uint8(0), shape),
        "label": np.zeros(shape[0], np.int32),
    }
    dataset = Dataset(
        name="none",
        title="none",
        splits={"train": ArraySplit(arrays)},
        class_names=tuple(map(str, range(config.classes))),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
    )
    model = create_model(
        config.model, num_classes=config.classes, dtype=compute_dtype(config.precision)
    )
    experiment = Experiment(
        dataset=dataset,
        task=Classification(model),
        optimizer=OptimizerConfig(),
        training=TrainingConfig(batch_size=shape[0], precision=config.precision),
    )
    parallel = make_parallel(config.parallel, virtual_devices(DEVICES))
    return step_cost(prepare_run(experiment, parallel, seed=0)[1])


def table(steps: dict[str, list[Step]], host_rate: float) -> Table:
    """Times, efficiencies and the first trouble, a row a chip."""
    shown = [8, 64, 256, 1024]
    rows = Table(title="weak scaling on paper: efficiency without and with overlap", min_width=60)
    rows.add_column("chip")
    for heading in ("step of one", "images/s", *(f"{count:,}" for count in shown)):
        rows.add_column(heading, justify="right")
    rows.add_column("breaks first")
    for name, of_chip in steps.items():
        by_count = {step.chips: step for step in of_chip}
        first = next((step for step in of_chip if step.trouble(host_rate)), None)
        rows.add_row(
            name,
            f"{1e3 * of_chip[0].compute:.1f} ms",
            f"{of_chip[0].images / of_chip[0].compute:,.0f}",
            *(
                f"{by_count[count].without_overlap:.0%} to {by_count[count].with_overlap:.0%}"
                for count in shown
            ),
            f"{first.trouble(host_rate)}, at {first.chips:,}" if first else "nothing",
        )
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Compile the step, print the table and draw the efficiencies."""
    console = standard_console()
    with user_errors(console):
        config = tyro.cli(
            Config, prog="python -m experiments.scaling", description=__doc__, args=argv
        )
        if config.smoke:
            config = Config(
                model="lenet5", size=32, classes=10, batch=4, workdir=config.workdir, smoke=True
            )
        cost = compiled_cost(config)
    exchanged = in_units(sum(one.bytes for one in cost.collectives))
    console.print(
        f"{config.model}, {config.batch} images of {config.size}x{config.size} a chip: "
        f"{cost.flops / 1e9:,.0f} GFLOP a chip and step, {len(cost.collectives)} exchanges of "
        f"{exchanged} ({config.parallel})",
        highlight=False,
    )
    steps = {
        name: [
            step_of(cost, CHIPS[name], count, images=config.batch, utilization=config.utilization)
            for count in COUNTS
        ]
        for name in config.chips
    }
    console.print(table(steps, config.host_rate))
    path = Path(config.workdir, "scaling", "efficiency.png")
    efficiencies = {
        name: [step.without_overlap for step in of_chip] for name, of_chip in steps.items()
    }
    title = f"{config.model}, {config.batch} images a chip, {config.parallel}: without overlap"
    save_figure(efficiency_over_devices(COUNTS, efficiencies, title=title), path)
    console.print(f"see {path}", highlight=False)


if __name__ == "__main__":
    main()
