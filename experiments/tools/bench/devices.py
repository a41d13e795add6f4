"""Virtual CPU devices of one machine, in one process or several: images per second.

More devices do not make the machine faster. With the same global batch, their extra cost over one
device is that of dividing the batch and combining gradients. With --weak each device has a batch of
the same size (weak scaling), and every number of devices is compared with one device that has the
whole batch.
"""

import os
from collections.abc import Iterable, Iterator
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
    processes: tuple[int, ...] = ()
    """Numbers of processes of one device each, which are compared with it too."""
    weak: bool = False
    """The batch is that of one device, so that the global one grows with their number."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, 1, devices=self.devices, processes=self.processes)


def measure(options: Options, console: Console) -> Iterator[Comparison]:
    """One comparison, or with --weak one for each number of devices."""
    first, *others = options.devices
    batch_size = options.batch_size or CASES[options.model].batch_size
    if not options.weak:
        yield _compared(options, options.devices, options.processes, batch_size, console)
        return
    for count in sorted({*others, *options.processes}):
        devices = (first, *(n for n in others if n == count))
        processes = tuple(n for n in options.processes if n == count)
        yield _compared(options, devices, processes, count * batch_size // first, console)


def _compared(
    options: Options,
    devices: Iterable[int],
    processes: Iterable[int],
    batch_size: int,
    console: Console,
) -> Comparison:
    """Sides with the same global batch."""
    case = CASES[options.model]
    arguments = {"case": asdict(case), "batch_size": batch_size}
    sides = [
        Side(
            _counted(n, "device", "devices"),
            f"{PACKAGE}.ours:training",
            arguments,
            virtual_devices(n),
        )
        for n in devices
    ] + [
        Side(
            _counted(n, "process", "processes"),
            f"{PACKAGE}.job:training",
            arguments | {"processes": n},
        )
        for n in processes
    ]
    with started(sides, console) as running:
        losses = check_same_work(running, steps=FIRST_STEPS, rtol=TOLERANCES["float32"])
        answers = timings(running, options.steps, options.rounds)
    title = f"virtual CPU devices: {case.title}, batch {batch_size}"
    values = rates(answers, options.steps * batch_size)
    return Comparison(title, "images/s", values, (losses,), {"answers": answers})


def _counted(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"


def virtual_devices(count: int) -> dict[str, str]:
    """The environment of a process with this many virtual devices."""
    option = "--xla_force_host_platform_device_count"
    others = [word for word in os.environ.get("XLA_FLAGS", "").split() if option not in word]
    return {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": " ".join([*others, f"{option}={count}"])}
