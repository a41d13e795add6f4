"""From an experiment file to a finished run: command line, training, table, figures."""

import errno
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import tyro
from jax.experimental import multihost_utils
from rich.console import Console
from rich.markup import escape

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
    leaving_soon,
    make_parallel,
    tensorboard_writer,
    train,
)
from cnn_jax.training.checkpoint import check_path
from cnn_jax.visual import save_figure
from experiments.tools import lengthen, run_directory
from experiments.tools.command_line import RunOptions, parse
from experiments.tools.compilation_cache import keep_compiled_programs
from experiments.tools.describe_run import describe_networks
from experiments.tools.figures import figure_heading
from experiments.tools.rate_sweep import only_experiment, run_sweep
from experiments.tools.report import Compare, draw_comparison, draw_figures, final_table, note

Config = TypeVar("Config")
Study = Mapping[str, Experiment]
Build = Callable[[Any], Experiment | Study]

INTERRUPTED = 75
"""Exit status of a run that was asked to stop and saved its state: run it again to go on."""


@leaving_soon()
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
        options = RunOptions(sweep=sweep or SweepConfig())
        resumed = _resumed(config_class, argv)
        if resumed:
            # What is not given is as it was, so that only the flags that differ are told.
            config, options = resumed
            recipes, smoke = {"": config}, None
        parsed = parse(
            config_class,
            prog=f"python -m experiments.{experiment}",
            description=module.__doc__ or "",
            recipes=recipes or {},
            smoke=smoke,
            options=options,
            argv=argv,
        )
        return _run(experiment, build, compare, console, *parsed, resumed)
    except Interrupted as interruption:
        _say(console, f"[yellow]{escape(str(interruption))}. The same command goes on with it.[/]")
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
    build: Build,
    compare: Compare | None,
    console: Console,
    config: Config,
    options: RunOptions,
    resumed: tuple[Config, RunOptions] | None,
) -> dict[str, Result]:
    set_up_jax(deterministic=options.deterministic)
    initialize_processes()
    # A new machine compiles oneDNN's operators for seconds, while this thread reads the data.
    threading.Thread(target=onednn.load).start()
    seed, rates = options.seed, options.sweep.learning_rate
    lengthens = resumed is not None and lengthen.is_longer(config, options, *resumed)
    built = build(config)
    study = dict(built) if isinstance(built, Mapping) else {"": built}
    if rates:
        study = {"": only_experiment(study)}
    dataset = next(iter(study.values())).dataset
    data = {"name": dataset.name, "title": dataset.title}
    networks = {
        member: described | run_directory.settings(study[member])
        for member, described in describe_networks(study, config).items()
    }
    identity = run_directory.identity(experiment, config, seed, data, rates)
    name = options.name or run_directory.default_name(identity)
    directory = Path(options.resume or Path(options.workdir, experiment, name))
    check_path(directory)
    _check_agreement(identity | {"networks": networks})
    notes = lengthen.check(directory, study) if lengthens else []
    if is_primary():
        run_directory.claim(
            directory,
            identity,
            networks,
            notes=dataset.notes,
            overwrite=options.overwrite,
            lengthens=lengthens,
        )
    parallel = make_parallel(options.parallel)
    _announce(console, experiment, dataset, parallel, directory)
    for text in notes:
        note(console, text)

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
    if compare and not rates:
        heading = figure_heading(f"{experiment}/{directory.name}", *study.values())
        draw_comparison(compare, results, directory / "figures", console, heading=heading)
    if is_primary():
        console.print(final_table(f"{experiment}: {dataset.title}", results))
        place = escape(str(directory))
        _say(console, f"[dim]see {place}: metrics.csv, summary.json, figures/*.png[/]")
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
    draw_figures(result, directory / "figures", console, heading=heading)
    if is_primary():
        run_directory.write_json(
            directory / "summary.json", {"title": title, "seed": seed, **result.summary}
        )
    return result


def _resumed(
    config_class: type[Config], argv: Sequence[str] | None
) -> tuple[Config, RunOptions] | None:
    """The configuration, seed and rates of the run that --resume names; None: it is not given."""
    choice, _ = tyro.cli(_Choice, args=argv, add_help=False, return_unknown_args=True)
    if not choice.resume:
        return None
    if choice.overwrite:
        raise ConfigError(
            f"--resume goes on with {choice.resume}, and --overwrite would delete it; give one of "
            "them"
        )
    directory = Path(choice.resume)
    config, seed = run_directory.load_config(config_class, directory)
    rates = run_directory.load_rates(directory)
    return config, RunOptions(seed=seed, sweep=SweepConfig(rates))


@dataclass(frozen=True)
class _Choice:
    resume: str = ""
    overwrite: bool = False


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
    title = escape(dataset.title)
    _say(console, f"[bold]{experiment}[/]  {title}: {sizes}  ({devices}, {parallel.mode})")
    if jax.default_backend() == "cpu":
        _say(console, f"[dim]{onednn.status()}[/]")
    for text in dataset.notes:
        note(console, text)
    _say(console, f"[dim]writes to {escape(str(directory))}[/]")


def _say(console: Console, text: str) -> None:
    if is_primary():
        console.print(text, highlight=False, soft_wrap=True)
