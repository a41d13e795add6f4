"""The directory of a run and its config.json."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from cnn_jax.durable import (
    DamagedFile,
    copy_of,
    read_kept_record,
    set_aside,
    write_kept_record,
    write_text,
)
from cnn_jax.run_record import NoRunRecord, is_run, read_run_record
from cnn_jax.training import Experiment, OptimizerConfig
from cnn_jax.training.lock import LOCK
from cnn_jax.training.sweep import JOINT
from experiments.tools.environment import MACHINE, environment
from experiments.tools.same_run import RunDirectoryError, check_same, decisive, plain, structured

WRITTEN = (
    *("metrics.csv", "summary.json", "summary.copy.json"),
    *("checkpoints", "figures", "tensorboard", "profile", "config.copy.json", "config.json"),
)
"""What a run writes into its directory and those of its members, in the order of its removal."""
REPLACED = ".replaced"
"""What --overwrite has taken out of the way, before it is deleted."""
Config = TypeVar("Config")


def identity(
    experiment: str, config: Any, seed: int, data: dict[str, str], rates: Sequence[float] = ()
) -> dict[str, Any]:
    """The values that identify a run: experiment, configuration, seed, data, learning rates."""
    same = {"experiment": experiment, "config": plain(config), "seed": seed, "data": data}
    return same | ({"sweep": list(rates)} if rates else {})


def default_name(identity: dict[str, Any]) -> str:
    """Eight hexadecimal digits, the start of a hash of a run's identity."""
    text = json.dumps(identity | {"config": decisive(identity["config"])}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def claim(
    directory: Path,
    identity: dict[str, Any],
    networks: Mapping[str, Any],
    *,
    config_class: type | None = None,
    notes: Sequence[str] = (),
    overwrite: bool = False,
    lengthens: bool = False,
) -> list[str]:
    """Make the directory, or check that it holds the same run on the same data.

    Versions, commit and devices that a resumed run has not had before are added to the list
    ``resumed`` of its ``config.json``.

    Args:
        directory: of the run.
        identity: the result of ``identity`` for the run.
        networks: the result of ``describe_networks``; added to a ``config.json`` of an older
            version, which has none.
        config_class: gives fields that the saved configuration lacks their defaults.
        notes: other things that the reader of ``config.json`` should know.
        overwrite: whether a run that is there is removed.
        lengthens: whether the run that is there gets this configuration and goes on; the one
            before is kept in the list ``earlier``.

    Returns:
        A line for a damaged file that was mended.

    Raises:
        RunDirectoryError: the directory belongs to another run, its data have changed, or it cannot
            be written.
        DamagedFile: its ``config.json`` is damaged or missing, and so is the copy of it.
    """
    shutil.rmtree(directory / REPLACED, ignore_errors=True)  # of a command that was killed
    if overwrite and directory.exists():
        _remove(directory)
        shutil.rmtree(directory / REPLACED, ignore_errors=True)
    try:
        if not is_run(directory):
            _check_new(directory)
            directory.mkdir(parents=True, exist_ok=True)
            about = {"notes": list(notes), "networks": dict(networks)}
            write_kept_record(directory / "config.json", identity | environment() | about)
            return []
        mended = _mend(directory / "config.json")
        _go_on(directory, identity, networks, config_class, lengthens)
        _remove_partial(directory, networks)
        return mended
    except OSError as error:
        raise RunDirectoryError(
            f"cannot write to the run directory {directory}: {error.strerror}; "
            "give another one with --workdir"
        ) from None


def _check_new(directory: Path) -> None:
    """Raise RunDirectoryError where there are checkpoints of a run that is not described."""
    if found := next(directory.glob("**/checkpoints/[0-9]*"), None):
        raise RunDirectoryError(
            f"{directory} holds checkpoints ({found.relative_to(directory)}), and the config.json "
            "that says what was trained is missing. Put it back, or give another --name"
        )


def _mend(path: Path) -> list[str]:
    """Write a damaged config.json anew from its copy; a line if there was something to mend."""
    saved, damage = read_run_record(path.parent)
    if damage:
        place = f", the damaged one is {set_aside(path).name}" if path.exists() else ""
        write_kept_record(path, saved)
        return [f"{damage}; it is written anew from its copy{place}"]
    return []


def _go_on(
    directory: Path,
    identity: dict[str, Any],
    networks: Mapping[str, Any],
    config_class: type | None,
    lengthens: bool,
) -> None:
    """Check that the run is the same, and add what it is resumed with."""
    path = directory / "config.json"
    saved = before = read_config(directory)
    if lengthens:
        kept = ("config", "command", "git_commit")
        one = {name: saved[name] for name in kept if name in saved}
        saved = saved | {"config": identity["config"]}
        saved |= {"earlier": [*before.get("earlier", ()), one]}
    check_same(directory, saved, identity, networks, config_class)
    saved = saved | {"config": identity["config"]}
    if lengthens:
        saved |= identity | environment() | {"networks": dict(networks)}
    elif networks and "networks" not in saved:
        saved = saved | {"networks": dict(networks)}
    now = {name: value for name, value in environment().items() if name in MACHINE}
    had = [saved, *saved.get("resumed", ())]
    if all(any(one.get(name) != value for name, value in now.items()) for one in had):
        saved = saved | {"resumed": [*saved.get("resumed", ()), now]}
    write_kept_record(path, saved)  # also where nothing is new: the copy may be damaged


def _remove_partial(directory: Path, networks: Mapping[str, Any]) -> None:
    """Remove the unfinished files of a killed process."""
    for folder in {directory, directory / JOINT, *(directory / member for member in networks)}:
        for path in (*folder.glob(".*.partial"), *folder.glob("figures/.*.partial")):
            path.unlink()


def _remove(directory: Path) -> None:
    """Remove what a run wrote into its directory, and the directory if nothing else is there.

    Raises:
        RunDirectoryError: the directory holds something, but no run.
    """
    try:
        saved = read_config(directory)
    except (DamagedFile, NoRunRecord):
        if any(path.name != LOCK for path in directory.iterdir()):
            raise RunDirectoryError(
                f"{directory} holds no run (its config.json is missing or not of a run), so "
                "--overwrite leaves it alone; give another --name"
            ) from None
        return
    # Only names: a path would lead out of the directory.
    members = [name for name in saved.get("networks", ()) if name and Path(name).name == name]
    for folder in (*(directory / name for name in (*members, JOINT)), directory):
        for path in (folder / name for name in WRITTEN):
            if path.exists() or path.is_symlink():
                # By renames, which a kill does not leave half done.
                target = directory / REPLACED / path.relative_to(directory)
                target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def load_config(config_class: type[Config], directory: Path) -> tuple[Config, int]:
    """The configuration and seed of a run, from its ``config.json``.

    Raises:
        RunDirectoryError: it is missing, has other fields, or values that are refused today.
        DamagedFile: it and its copy cannot be read.
    """
    path = directory / "config.json"
    if not is_run(directory):
        raise RunDirectoryError(f"there is no run in {directory}: {path} is missing")
    saved = read_config(directory)
    return structured(saved["config"], config_class, path), saved["seed"]


def load_rates(directory: Path) -> tuple[float, ...]:
    """The learning rates that a run trains at once; none if it is not a sweep."""
    return tuple(read_config(directory).get("sweep", ()))


def read_config(directory: Path) -> dict[str, Any]:
    """The ``config.json`` of a run, or the copy of it if it is damaged.

    Raises:
        DamagedFile: neither can be read.
        NoRunRecord: it is not one of a run.
    """
    return read_run_record(directory)[0]


def last_step(directory: Path) -> int | None:
    """The step of the last checkpoint below a directory, which is not opened; None: there is none.

    Args:
        directory: of a run or a member of a study.
    """
    steps = [
        int(path.name)
        for folder in (directory, directory / JOINT)
        for path in (folder / "checkpoints").glob("*")
        if path.name.isdigit()
    ]
    return max(steps, default=None)


def settings(experiment: Experiment) -> dict[str, Any]:
    """What an experiment really trains with, as JSON: a configuration may leave it open."""
    parts = {"training": experiment.training, "control": experiment.control}
    if isinstance(experiment.optimizer, OptimizerConfig):
        parts["optimizer"] = experiment.optimizer
    return plain(parts)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file by one rename, so that it is never incomplete."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_summary(directory: Path, summary: Mapping[str, Any]) -> None:
    """Write the ``summary.json`` of a finished run, and the copy of it."""
    write_kept_record(directory / "summary.json", summary)


def read_summary(directory: Path) -> dict[str, Any]:
    """The ``summary.json`` of a run, or its copy; {} if the run has not ended.

    Raises:
        DamagedFile: neither can be read.
    """
    path = directory / "summary.json"
    return read_kept_record(path)[0] if path.exists() or copy_of(path).exists() else {}
