"""From an experiment file to a finished run: command line, training, table, figures."""

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jax
import tyro
from rich.console import Console
from rich.markup import escape

from cnn_jax.errors import ConfigError
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
from cnn_jax.training.distributed import check_shared, failing_together
from cnn_jax.training.lock import locked
from cnn_jax.training.signals import INTERRUPTED, stop_signals
from cnn_jax.visual import save_figure
from experiments.tools import lengthen, run_directory
from experiments.tools.agreement import check_agreement
from experiments.tools.command_line import RunOptions, parse
from experiments.tools.compilation_cache import keep_compiled_programs
from experiments.tools.console import standard_console
from experiments.tools.describe_run import describe_networks
from experiments.tools.dry_run import dry_run
from experiments.tools.failed_writes import tell_once
from experiments.tools.figures import figure_heading
from experiments.tools.messages import printable, say, user_errors
from experiments.tools.rate_sweep import only_experiment, run_sweep
from experiments.tools.report import (
    Compare,
    animate_pictures,
    draw_comparison,
    draw_figures,
    final_table,
    note,
)
from experiments.tools.same_run import as_stored

Config = TypeVar("Config")
Study = Mapping[str, Experiment]
Build = Callable[[Any], Experiment | Study]

LESS_MEMORY = (
    "a lower --training.batch-size (or a higher --training.accumulate) or "
    "--training.eval-batch-size, and with --data.storage stream"
)


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
    console = standard_console()
    with _stoppable(console), user_errors(console, less_memory=LESS_MEMORY):
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


@contextmanager
def _stoppable(console: Console) -> Iterator[None]:
    """Let a signal end the process, once and with status 75, when the state is saved."""
    with stop_signals("end", ends_process=True):
        try:
            yield
        except Interrupted as interruption:
            say(console, f"{interruption}. The same command goes on with it.")
            raise SystemExit(INTERRUPTED) from None


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
    if options.dry_run:
        _dry_run(build(config), options, console)
        return {}
    initialize_processes()
    # A new machine compiles oneDNN's operators for seconds, while this thread reads the data.
    threading.Thread(target=onednn.load).start()
    seed, rates = options.seed, options.sweep.learning_rate
    lengthens = resumed is not None and lengthen.is_longer(config, options, *resumed)
    with failing_together():
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
    check_agreement(identity | {"networks": networks})
    parallel = make_parallel(options.parallel)
    notes: list[str] = []
    with ExitStack() as stack:
        with failing_together():
            notes += lengthen.check(directory, study) if lengthens else []
            stack.enter_context(locked(directory))
            if is_primary():
                notes += run_directory.claim(
                    directory,
                    identity,
                    networks,
                    config_class=type(config),
                    notes=dataset.notes,
                    overwrite=options.overwrite,
                    lengthens=lengthens,
                )
        check_shared(directory)
        _announce(console, experiment, dataset, parallel, directory)
        for text in notes:
            note(console, text)
        results = _run_all(
            study, f"{experiment}/{directory.name}", directory, parallel, options, console
        )
        if compare and not rates:
            heading = figure_heading(f"{experiment}/{directory.name}", *study.values())
            draw_comparison(compare, results, directory / "figures", console, heading=heading)
    if is_primary():
        console.print(final_table(printable(f"{experiment}: {dataset.title}"), results))
        place = escape(printable(directory))
        _say(console, f"[dim]see {place}: metrics.csv, summary.json, figures/*.png[/]")
    return results


def _dry_run(built: Experiment | Study, options: RunOptions, console: Console) -> None:
    if options.sweep.learning_rate:
        raise ConfigError(
            "--dry-run compiles the step of one learning rate; leave out --sweep.learning-rate"
        )
    study = built if isinstance(built, Mapping) else {"": built}
    dry_run(study, options.dry_run, options.parallel, seed=options.seed, console=console)


def _run_all(
    study: Study,
    run_name: str,
    directory: Path,
    parallel: Parallel,
    options: RunOptions,
    console: Console,
) -> dict[str, Result]:
    """Run the members of a study, one after the other; each sees the results of those before."""
    results: dict[str, Result] = {}
    for member, one in study.items():
        results[member] = _run_one(
            one,
            directory / member,
            parallel,
            options,
            title=printable(f"{member or run_name.partition('/')[0]}: {one.dataset.title}"),
            heading=figure_heading("/".join(filter(None, (run_name, member))), one),
            console=console,
            earlier=results,
        )
    return results


def _run_one(
    experiment: Experiment,
    directory: Path,
    parallel: Parallel,
    options: RunOptions,
    *,
    title: str,
    heading: str,
    console: Console,
    earlier: Mapping[str, Result],
) -> Result:
    """Train one experiment and write its summary and figures."""
    directory.mkdir(parents=True, exist_ok=True)
    seed, rates = options.seed, options.sweep.learning_rate
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
    animate_pictures(experiment.pictures, directory / "figures")
    if is_primary():
        run_directory.write_summary(directory, {"title": title, "seed": seed, **result.summary})
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
    with as_stored(directory / "config.json"):
        sweep = SweepConfig(run_directory.load_rates(directory))
        return config, RunOptions(seed=seed, sweep=sweep)


@dataclass(frozen=True)
class _Choice:
    resume: str = ""
    overwrite: bool = False


def set_up_jax(*, deterministic: bool = False) -> None:
    """Keep compiled programs in the user's cache directory, and a CPU step's memory in hand."""
    keep_freed_memory()
    tell_once()
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
    title = escape(printable(dataset.title))
    _say(console, f"[bold]{experiment}[/]  {title}: {sizes}  ({devices}, {parallel.mode})")
    if jax.default_backend() == "cpu":
        _say(console, f"[dim]{escape(onednn.status())}[/]")
    for text in dataset.notes:
        note(console, text)
    _say(console, f"[dim]writes to {escape(printable(directory))}[/]")


def _say(console: Console, text: str) -> None:
    if is_primary():
        console.print(text, highlight=False, soft_wrap=True)
