"""The command line of every experiment: its Config, recipes, and the options of a run."""

import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from typing import Annotated, Any, TypeVar

import tyro

from cnn_jax.errors import ConfigError
from cnn_jax.training import Mode, SweepConfig

Config = TypeVar("Config")


@dataclass(frozen=True)
class RunOptions:
    """How a run is carried out: what it computes is in the experiment's own options."""

    seed: int = 0
    """Decides initialization, order of examples and augmentation."""
    parallel: Mode = "auto"
    """How the step is spread over devices: jit (one program over a mesh) or pmap; auto is jit."""
    smoke: bool = False
    """Take the experiment's few-step configuration as defaults: does everything work?"""
    workdir: str = "runs"
    """Runs are written to WORKDIR/experiment/name."""
    name: str = ""
    """Name of the run; by default a hash of its configuration."""
    resume: str = ""
    """Directory of a run to go on with, by its own configuration."""
    overwrite: bool = False
    """Start the run anew where its directory is already there."""
    profile: bool = False
    """Write a jax.profiler trace of some training steps into the run's directory."""
    deterministic: bool = False
    """Bit-equal results on GPUs too, at some cost in speed (CPU and TPU runs always are)."""
    tensorboard: bool = False
    """Also write TensorBoard events; needs pip install 'cnn-jax[tensorboard]'."""
    sweep: SweepConfig = field(default_factory=SweepConfig)


def parse(
    config_class: type[Config],
    *,
    prog: str,
    description: str,
    recipes: Mapping[str, Config],
    smoke: Config | None,
    sweep: SweepConfig | None = None,
    argv: Sequence[str] | None = None,
) -> tuple[Config, RunOptions, Config]:
    """Read the command line.

    A recipe, or ``--smoke``, gives the defaults that the other flags then change.

    Args:
        config_class: the experiment's frozen dataclass.
        prog: the command, for the help text.
        description: what the help text begins with.
        recipes: defaults by name; may be empty.
        smoke: defaults of a run of a few steps.
        sweep: learning rates that are trained at once where none are given.
        argv: the words; None takes the process's.

    Returns:
        The configuration, the options, and the defaults that the configuration started from.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    defaults = config_class()
    if recipes:
        name = _recipe(words, next(iter(recipes)))
        if name not in recipes:
            raise ConfigError(f"unknown recipe {name!r}; there are {', '.join(recipes)}")
        defaults = recipes[name]
    if "--smoke" in words and smoke is not None:
        defaults = smoke
    options = RunOptions(sweep=sweep or SweepConfig())
    # The two parts share one level of flags; nested groups keep their prefix.
    command = make_dataclass(
        "Command",
        [
            ("config", Annotated[config_class, tyro.conf.arg(name="")], field(default=defaults)),
            ("options", Annotated[RunOptions, tyro.conf.arg(name="")], field(default=options)),
        ],
        frozen=True,
    )
    parsed: Any = tyro.cli(
        command,
        prog=prog,
        description=description,
        args=words,
    )
    return parsed.config, parsed.options, defaults


def _recipe(words: Sequence[str], default: str) -> str:
    """The value of --recipe, which decides the other flags' defaults."""
    for word, following in itertools.zip_longest(words, words[1:], fillvalue=""):
        if word == "--recipe":
            return following
        if word.startswith("--recipe="):
            return word.removeprefix("--recipe=")
    return default
