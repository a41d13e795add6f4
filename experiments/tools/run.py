"""From an experiment file to a finished run: command line, training, table, figures."""

import errno
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from rich.console import Console
from rich.table import Table

from cnn_jax.errors import ConfigError, UserError
from cnn_jax.layers.cpu import onednn
from cnn_jax.training import (
    Experiment,
    Interrupted,
    Parallel,
    Result,
    SweepConfig,
    TrainState,
    initialize_processes,
    is_primary,
    keep_freed_memory,
    make_parallel,
    tensorboard_writer,
    train,
)
from cnn_jax.visual import save_figure
from experiments.tools import run_directory
from experiments.tools.command_line import RunOptions, parse
from experiments.tools.compilation_cache import keep_compiled_programs
from experiments.tools.figures import figure_heading
from experiments.tools.rate_sweep import number, only_experiment, run_sweep
from experiments.tools.saved_run import describe_networks

Config = TypeVar("Config")
Study = Mapping[str, Experiment]
Build = Callable[[Any], Experiment | Study]
Compare = Callable[[Mapping[str, Result]], Mapping[str, Any]]

INTERRUPTED = 75
"""Exit status of a run that was asked to stop and saved its state: run it again to go on."""


def run(
    config_class: type[Config],
    build: Build,
    *,
    recipes: Mapping[str, Config] | None = None,
    smoke: Config | None = None,
    compare: Compare | None = None,
    sweep: SweepConfig | None = None,
    argv: list[str] | None = None,
) -> dict[str, Result]:
    """Run an experiment file from its command line.

    Args:
        config_class: frozen dataclass whose fields are the flags.
        build: makes an Experiment, or several by name (a study), of a configuration.
        recipes: configurations by name, chosen by ``--recipe``; the first is the default.
        smoke: configuration of ``--smoke``.
        compare: figures of a study, by file name, from its results.
        sweep: learning rates that are trained at once, where the command names none.
        argv: the command line; None takes the process's.

    Returns:
        The results by name; an experiment that is no study has the name "".
    """
    module = sys.modules[build.__module__]
    experiment = Path(module.__file__ or build.__module__).stem
    # Tables in a file or a pipe need not fit the 80 columns that are taken for granted there.
    console = Console(width=None if sys.stdout.isatty() else 120)
    try:
        parsed = parse(
            config_class,
            prog=f"python -m experiments.{experiment}",
            description=module.__doc__ or "",
            recipes=recipes or {},
            smoke=smoke,
            sweep=sweep,
            argv=argv,
        )
        return _run(experiment, config_class, build, compare, sweep, console, *parsed)
    except Interrupted as interruption:
        _say(console, f"[yellow]{interruption}. The same command goes on with it.[/]")
        raise SystemExit(INTERRUPTED) from None
    except UserError as error:
        console.print("[bold red]error:[/]", end=" ")
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(2) from None
    except (OSError, ValueError) as error:
        if not _is_full_disk(error):
            raise
        console.print("[bold red]error:[/]", end=" ")
        text = f"the disk is full: {error}; what was saved before is intact"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(2) from None


def _is_full_disk(error: Exception) -> bool:
    """Checkpoints are written by TensorStore, which gives the system's words in a ValueError."""
    codes = (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, OSError):
        return error.errno in codes
    return any(os.strerror(code) in str(error) for code in codes)


def _run(
    experiment: str,
    config_class: type[Config],
    build: Build,
    compare: Compare | None,
    default_sweep: SweepConfig | None,
    console: Console,
    config: Config,
    options: RunOptions,
    defaults: Config,
) -> dict[str, Result]:
    set_up_jax(deterministic=options.deterministic)
    initialize_processes()
    seed, rates = options.seed, options.sweep.learning_rate
    if options.resume:
        config, seed = _resumed(config_class, options, config, defaults)
        if options.sweep == (default_sweep or SweepConfig()):
            rates = run_directory.load_rates(Path(options.resume))
    built = build(config)
    study = dict(built) if isinstance(built, Mapping) else {"": built}
    if rates:
        study = {"": only_experiment(study)}
    dataset = next(iter(study.values())).dataset
    data = {"name": dataset.name, "title": dataset.title}
    networks = describe_networks(study, config)
    identity = run_directory.identity(experiment, config, seed, data, rates)
    name = options.name or run_directory.default_name(identity)
    directory = Path(options.resume or Path(options.workdir, experiment, name))
    _check_agreement(identity | {"networks": networks})
    if is_primary():
        run_directory.claim(
            directory, identity, networks, notes=dataset.notes, overwrite=options.overwrite
        )
    parallel = make_parallel(options.parallel)
    _announce(console, experiment, dataset, parallel, directory)

    results: dict[str, Result] = {}
    for member, one in study.items():
        title = f"{member}: {dataset.title}" if member else f"{experiment}: {dataset.title}"
        run_name = "/".join(filter(None, (experiment, directory.name, member)))
        results[member] = _run_one(
            one,
            directory / member,
            parallel,
            options,
            rates,
            seed=seed,
            title=title,
            heading=figure_heading(run_name, one),
            console=console,
            earlier=results,
        )
    compared = compare(results) if compare and not rates else {}
    if is_primary():
        heading = figure_heading(f"{experiment}/{directory.name}", *study.values())
        for file_name, figure in compared.items():
            save_figure(figure, directory / "figures" / f"{file_name}.png", heading=heading)
        console.print(_table(f"{experiment}: {dataset.title}", results))
        _say(console, f"[dim]see {directory}: metrics.csv, summary.json, figures/*.png[/]")
    return results


def _check_agreement(identity: dict[str, Any]) -> None:
    """Raise ConfigError where processes of a job would train or compile different things."""
    mine = np.array([int(run_directory.default_name(identity), 16), onednn.load()], np.uint32)
    gathered = multihost_utils.process_allgather(mine).reshape(-1, mine.size)
    same_run, same_convolutions = np.all(gathered == mine, axis=0)
    if not same_run:
        raise ConfigError(
            "the processes of this job differ in configuration or data (this one has "
            f"{identity['data']['title']}): give all of them the same command, and name the "
            "data with --data.name"
        )
    if not same_convolutions:
        raise ConfigError(
            "the processes of this job would run different programs (this one computes "
            f"{onednn.status()}): install the same extras and a C++ compiler on all of their "
            f"machines, or give all of them {onednn.SWITCH}=0"
        )


def _run_one(
    experiment: Experiment,
    directory: Path,
    parallel: Parallel,
    options: RunOptions,
    rates: Sequence[float],
    *,
    seed: int,
    title: str,
    heading: str,
    console: Console,
    earlier: Mapping[str, Result],
) -> Result:
    """Train one experiment and write its summary and figures."""
    directory.mkdir(parents=True, exist_ok=True)
    writer = None
    if options.tensorboard and is_primary():
        writer = tensorboard_writer(directory / "tensorboard")
    profile = directory / "profile" if options.profile else None
    if rates:
        return run_sweep(
            experiment,
            rates,
            directory,
            parallel,
            seed=seed,
            title=title,
            heading=heading,
            console=console,
            writer=writer,
            profile=profile,
        )

    def draw(step: int, state: TrainState) -> None:
        for name, picture in experiment.pictures.items():
            figure = picture(state)
            if is_primary():
                path = directory / "figures" / f"{name}-{step:06}.png"
                save_figure(figure, path, heading=heading)

    result = train(
        experiment,
        directory,
        parallel,
        seed=seed,
        title=title,
        console=console if is_primary() else None,
        writer=writer,
        draw=draw,
        profile=profile,
        earlier=earlier,
    )
    figures = {name: figure(result) for name, figure in experiment.figures.items()}
    if is_primary():
        for name, figure in figures.items():
            save_figure(figure, directory / "figures" / f"{name}.png", heading=heading)
        run_directory.write_json(
            directory / "summary.json", {"title": title, "seed": seed, **result.summary}
        )
    return result


def _resumed(
    config_class: type[Config], options: RunOptions, config: Config, defaults: Config
) -> tuple[Config, int]:
    """The configuration of the run to go on with; flags beside --resume must agree with it."""
    saved, seed = run_directory.load_config(config_class, Path(options.resume))
    if config != defaults and config != saved:
        lines = run_directory.differences(run_directory.plain(saved), run_directory.plain(config))
        raise run_directory.RunDirectoryError(
            f"{options.resume} is a run with another configuration:\n"
            + "\n".join(f"  {line}" for line in lines)
            + "\nLeave these flags out beside --resume, or start a new run"
        )
    return saved, seed


def set_up_jax(*, deterministic: bool = False) -> None:
    """Keep compiled programs in the user's cache directory, and a CPU step's memory in hand."""
    keep_freed_memory()
    # Orbax and TFDS warn through absl of what is meant, such as a save between evaluations.
    logging.getLogger("absl").setLevel(logging.ERROR)
    if deterministic:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    keep_compiled_programs()


def _announce(
    console: Console, experiment: str, dataset: Any, parallel: Parallel, directory: Path
) -> None:
    sizes = ", ".join(f"{len(split):,} {name}" for name, split in dataset.splits.items())
    count = parallel.num_devices
    devices = f"{count} {jax.devices()[0].device_kind} device{'s' if count > 1 else ''}"
    _say(console, f"[bold]{experiment}[/]  {dataset.title}: {sizes}  ({devices}, {parallel.mode})")
    if jax.default_backend() == "cpu":
        _say(console, f"[dim]{onednn.status()}[/]")
    for note in dataset.notes:
        _say(console, f"[yellow]note:[/] {note}")
    _say(console, f"[dim]writes to {directory}[/]")


def _say(console: Console, text: str) -> None:
    if is_primary():
        console.print(text, highlight=False, soft_wrap=True)


def _table(title: str, results: Mapping[str, Result]) -> Table:
    """The final table: a row a run and split."""
    table = Table(title=title, title_justify="left")
    # The runs of a study may have different tasks.
    metrics = list(
        dict.fromkeys(metric for result in results.values() for metric in result.metrics)
    )
    table.add_column("run", overflow="fold")
    table.add_column("split", overflow="fold")
    for metric in metrics:
        table.add_column(metric, justify="right", overflow="fold")
    for heading in ("steps", "parameters", "minutes"):
        table.add_column(heading, justify="right", overflow="fold")
    for name, result in results.items():
        summary = result.summary
        for split in ("validation", "test"):
            if split not in summary:
                continue
            table.add_row(
                name or "final",
                split,
                *(
                    number(metric, summary[split][metric]) if metric in summary[split] else ""
                    for metric in metrics
                ),
                f"{summary['step']:,}",
                f"{summary['parameters']:,}",
                f"{summary['train_seconds'] / 60:.1f}",
            )
    return table
