"""Virtual CPU devices of one machine with the same global batch: images per second.

More devices do not make the machine faster. Their extra cost over one device is that of dividing
the batch and combining gradients.
"""

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from rich.console import Console

from cnn_jax.errors import check_range
from experiments.tools.bench.cases import CASES
from experiments.tools.bench.comparison import Comparison, check_same_work, rates, timings
from experiments.tools.bench.opponents import PACKAGE
from experiments.tools.bench.options import Steps
from experiments.tools.bench.processes import Side, started
from experiments.tools.bench.train_step import FIRST_STEPS, TOLERANCES, Model


@dataclass(frozen=True)
class Options(Steps):
    """Training steps on one virtual CPU device and on several."""

    model: Model = "cifar_resnet20"
    """Network to train."""
    devices: tuple[int, ...] = (1, 2, 4, 8)
    """Numbers of devices; the others are compared with the first."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, 1, devices=self.devices)


def measure(options: Options, console: Console) -> Iterable[Comparison]:
    """One comparison."""
    case = CASES[options.model]
    batch_size = options.batch_size or case.batch_size
    arguments = {"case": asdict(case), "batch_size": batch_size}
    sides = [
        Side(
            f"{count} device{'s' if count > 1 else ''}",
            f"{PACKAGE}.ours:training",
            arguments,
            virtual_devices(count),
        )
        for count in options.devices
    ]
    with started(sides, console) as processes:
        losses = check_same_work(processes, steps=FIRST_STEPS, rtol=TOLERANCES["float32"])
        answers = timings(processes, options.steps, options.rounds)
    title = f"virtual CPU devices: {case.title}, batch {batch_size}"
    values = rates(answers, options.steps * batch_size)
    return [Comparison(title, "images/s", values, (losses,), {"answers": answers})]


def virtual_devices(count: int) -> dict[str, str]:
    """The environment of a process with this many virtual devices."""
    option = "--xla_force_host_platform_device_count"
    others = [word for word in os.environ.get("XLA_FLAGS", "").split() if option not in word]
    return {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": " ".join([*others, f"{option}={count}"])}
