"""The command lines of experiments and tools."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from typing import Annotated, Any, TypeVar

import tyro
from rich.console import Console

from cnn_jax.errors import UserError, check_range
from cnn_jax.training import Mode, SweepConfig
from experiments.tools.console import standard_console
from experiments.tools.messages import user_errors

Config = TypeVar("Config")
Output = TypeVar("Output")


LONGEST_NAME = 200
"""Bytes of a run's name; most file systems take 255, and temporary files need some more."""


@dataclass(frozen=True)
class RunOptions:
    """How a run is executed. The options of the experiment decide what it computes."""

    seed: int = 0
    """Decides initialization, order of examples and augmentation."""
    parallel: Mode = "auto"
    """How a step is spread over devices: jit (one program over a mesh), fsdp (the same, and each
    device keeps only a piece of parameters and optimizer state, for large models) or pmap; auto is
    jit. All compute the same, but DropOut draws other masks under pmap, for each device its own."""
    dry_run: int = 0
    """Train nothing: compile the training step for so many devices (virtual ones, where there are
    fewer), and print the memory, operations and traffic of each."""
    smoke: bool = False
    """Use a configuration of a few steps as the defaults, to check that everything works."""
    workdir: str = "runs"
    """Runs are written to WORKDIR/experiment/name."""
    name: str = ""
    """Name of the run; by default a hash of its configuration."""
    resume: str = ""
    """Directory of a run to go on with, with the configuration and the seed stored there. A longer
    --training.duration beside it trains longer; other flags must agree with the run."""
    overwrite: bool = False
    """Delete what an earlier run of the same name wrote and start again."""
    profile: bool = False
    """Write a jax.profiler trace of some training steps to the directory of the run."""
    deterministic: bool = False
    """Make GPU results reproducible to the bit, at some cost in speed; CPUs and TPUs always are."""
    tensorboard: bool = False
    """Also write TensorBoard events; needs pip install 'cnn-jax[tensorboard]'."""
    sweep: SweepConfig = field(default_factory=SweepConfig)

    def __post_init__(self) -> None:
        check_range(self, 0, seed=self.seed, dry_run=self.dry_run)
        too_long = len(self.name.encode(errors="replace")) > LONGEST_NAME
        if too_long or "/" in self.name or self.name in (".", ".."):
            raise UserError(
                f"--name must name a folder, in at most {LONGEST_NAME} bytes, got {self.name!r}"
            )


def parse(
    config_class: type[Config],
    *,
    prog: str,
    description: str,
    recipes: Mapping[str, Config],
    smoke: Config | None,
    options: RunOptions | None = None,
    argv: Sequence[str] | None = None,
) -> tuple[Config, RunOptions]:
    """Parse the command line of an experiment.

    Args:
        config_class: frozen dataclass of the experiment.
        prog: command shown in the help text.
        description: first part of the help text.
        recipes: defaults by name; may be empty.
        smoke: defaults of ``--smoke``; None if there are none.
        options: their defaults.
        argv: the arguments; None means those of the process.

    Returns:
        The configuration and the options.
    """
    defaults = choose_defaults(recipes or {"": config_class()}, smoke, argv)
    options = options or RunOptions()
    # Both parts share the top level of flags; nested groups keep their prefix.
    command = make_dataclass(
        "Command",
        [
            ("config", Annotated[config_class, tyro.conf.arg(name="")], field(default=defaults)),
            ("options", Annotated[RunOptions, tyro.conf.arg(name="")], field(default=options)),
        ],
        frozen=True,
    )
    parsed: Any = tyro.cli(command, prog=prog, description=description, args=argv)
    return parsed.config, parsed.options


def choose_defaults(
    recipes: Mapping[str, Config], smoke: Config | None, argv: Sequence[str] | None
) -> Config:
    """The defaults of all other flags, which ``--recipe`` and ``--smoke`` choose.

    The full parser checks both flags again, and rejects an unknown recipe.

    Args:
        recipes: defaults by name; the first one is used if ``--recipe`` names none of them.
        smoke: defaults of ``--smoke``; None if there are none.
        argv: the arguments; None means those of the process.
    """
    choice, _ = tyro.cli(_Choice, args=argv, add_help=False, return_unknown_args=True)
    if choice.smoke and smoke is not None:
        return smoke
    return recipes.get(choice.recipe, next(iter(recipes.values())))


@dataclass(frozen=True)
class _Choice:
    recipe: str = ""
    smoke: bool = False


def run_tool(
    name: str,
    options_class: type[Config],
    run: Callable[[Config, Console], Output],
    *,
    description: str | None,
    argv: Sequence[str] | None,
) -> Output:
    """Parse the command line of a tool and run it. A UserError ends the process with its message.

    Args:
        name: name of the tool in ``python -m experiments.name``.
        options_class: frozen dataclass whose fields are the flags.
        run: the tool, a function of the options and the console it prints to.
        description: first part of the help text.
        argv: the arguments; None means those of the process.
    """
    console = standard_console()
    with user_errors(console):
        options = tyro.cli(
            options_class, prog=f"python -m experiments.{name}", description=description, args=argv
        )
        return run(options, console)
