"""What a run would need on its devices, told before it is started on them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress

import jax
from rich.console import Console
from rich.table import Table

from cnn_jax.errors import ConfigError
from cnn_jax.training import Experiment, Mode, make_parallel, prepare_run
from cnn_jax.training.step_cost import StepCost, step_cost

UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def dry_run(
    study: Mapping[str, Experiment], count: int, mode: Mode, *, seed: int, console: Console
) -> dict[str, StepCost]:
    """Compile the training step of each experiment for some devices, and print what it needs.

    Args:
        study: experiments by name.
        count: number of devices.
        mode: how a step is spread over them.
        seed: of the run.
        console: where a person looks.

    Raises:
        ConfigError: the configuration does not fit the data or the devices, or JAX has started
            with fewer devices.
    """
    devices = virtual_devices(count)
    costs = {}
    for name, experiment in study.items():
        parallel = make_parallel(mode, devices)
        _, runner = prepare_run(experiment, parallel, seed=seed)
        costs[name] = step_cost(runner)
        title = f"{name}: " if name else ""
        title += (
            f"a step of {experiment.training.batch_size:,} examples on {count:,} devices "
            f"({parallel.mode}, compiled for {devices[0].platform})"
        )
        console.print(cost_table(costs[name], title))
    return costs


def virtual_devices(count: int) -> Sequence[jax.Device]:
    """Accelerators, or a processor's virtual devices where there are not so many.

    Raises:
        ConfigError: JAX has started with fewer devices.
    """
    with suppress(RuntimeError):  # JAX has started, perhaps with enough of them
        jax.config.update("jax_num_cpu_devices", count)
    devices = jax.devices() if jax.device_count() >= count else jax.devices("cpu")
    if len(devices) < count:
        raise ConfigError(
            f"{count} devices were asked for, and JAX has started with {len(devices)}; begin in a "
            "new process"
        )
    return devices[:count]


def cost_table(cost: StepCost, title: str) -> Table:
    """Memory, operations and traffic of a device in a step."""
    table = Table("on each device", "", title=title, title_justify="left")
    table.columns[1].justify = "right"
    table.add_row("memory", in_units(cost.memory))
    table.add_row("  state: parameters, optimizer and the like", in_units(cost.state_bytes))
    table.add_row("  data", in_units(cost.data_bytes))
    table.add_row("  temporary arrays", in_units(cost.temporary_bytes))
    table.add_row("operations", f"{cost.flops / 1e9:,.3f} GFLOP")
    for kind, number in Counter(one.kind for one in cost.collectives).items():
        table.add_row(f"{number} x {kind}", in_units(cost.bytes_of(kind)))
    return table


def in_units(count: float) -> str:
    """A number of bytes, such as "12.3 MB"."""
    for unit in UNITS:
        if count < 1000 or unit == UNITS[-1]:
            break
        count /= 1000
    return f"{count:.1f} {unit}" if unit != "B" else f"{count:,.0f} B"
