"""The directory of a run: its config.json, and the check that a resumed run is the same."""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import cattrs
import jax

from cnn_jax.errors import UserError
from cnn_jax.layers.cpu import onednn
from cnn_jax.training import Experiment, OptimizerConfig
from cnn_jax.training.sweep import JOINT

LISTED = 20
"""At most this many differences are listed in a message."""
SHORT_LIST = 8
"""Lists up to this length are shown whole if they differ; of longer ones the items that differ."""
WRITTEN = (
    *("metrics.csv", "metrics.partial", "summary.json", "summary.partial"),
    *("checkpoints", "figures", "tensorboard", "profile", "config.partial", "config.json"),
)
"""What a run writes into its directory and those of its members, in the order of its removal."""
PACKAGES = ("cnn-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
Config = TypeVar("Config")


class RunDirectoryError(UserError):
    """A run directory that cannot be written, or belongs to another run."""


def identity(
    experiment: str, config: Any, seed: int, data: dict[str, str], rates: Sequence[float] = ()
) -> dict[str, Any]:
    """The values that identify a run: experiment, configuration, seed, data, learning rates."""
    same = {"experiment": experiment, "config": plain(config), "seed": seed, "data": data}
    return same | ({"sweep": list(rates)} if rates else {})


def plain(config: Any) -> Any:
    """The configuration as it comes back from JSON."""
    return json.loads(json.dumps(cattrs.unstructure(config)))


def default_name(identity: dict[str, Any]) -> str:
    """Eight hexadecimal digits, the start of a hash of a run's identity."""
    text = json.dumps(identity, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def claim(
    directory: Path,
    identity: dict[str, Any],
    networks: Mapping[str, Any],
    *,
    notes: Sequence[str] = (),
    overwrite: bool = False,
    lengthens: bool = False,
) -> None:
    """Make the directory, or check that it holds the same run on the same data.

    Args:
        directory: of the run.
        identity: the result of ``identity`` for the run.
        networks: the result of ``describe_networks``; added to a ``config.json`` of an older
            version, which has none.
        notes: other things that the reader of ``config.json`` should know.
        overwrite: whether a run that is there is removed.
        lengthens: whether the run that is there gets this configuration and goes on; the one
            before is kept in the list ``earlier``.

    Raises:
        RunDirectoryError: the directory belongs to another run, its data have changed, or it cannot
            be written.
    """
    if overwrite and directory.exists():
        _remove(directory)
    path = directory / "config.json"
    try:
        if path.exists():
            saved = read_json(path)
            if lengthens:
                kept = ("config", "command", "git_commit")
                before = {name: saved[name] for name in kept if name in saved}
                about = {
                    "networks": dict(networks),
                    "earlier": [*saved.get("earlier", ()), before],
                }
                saved |= {"config": identity["config"]}
            check_same(directory, saved, identity, networks)
            if lengthens:
                write_json(path, saved | identity | environment() | about)
            if networks and "networks" not in saved:
                write_json(path, saved | {"networks": dict(networks)})
            return
        directory.mkdir(parents=True, exist_ok=True)
        about = {"notes": list(notes), "networks": dict(networks)}
        write_json(path, identity | environment() | about)
    except OSError as error:
        raise RunDirectoryError(
            f"cannot write to the run directory {directory}: {error.strerror}; "
            "give another one with --workdir"
        ) from None


def _remove(directory: Path) -> None:
    """Remove what a run wrote into its directory, and the directory if nothing else is there.

    Raises:
        RunDirectoryError: the directory holds something, but no run.
    """
    path = directory / "config.json"
    saved = read_json(path) if path.exists() else None
    if not isinstance(saved, dict) or not {"experiment", "config", "seed"} <= saved.keys():
        if any(directory.iterdir()):
            raise RunDirectoryError(
                f"{directory} holds no run (its config.json is missing or not of a run), so "
                "--overwrite leaves it alone; give another --name"
            )
        return
    # Only names: a path would lead out of the directory.
    members = [name for name in saved.get("networks", ()) if name and Path(name).name == name]
    for folder in (*(directory / name for name in (*members, JOINT)), directory):
        for path in (folder / name for name in WRITTEN):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def check_same(
    directory: Path, saved: Mapping[str, Any], identity: dict[str, Any], networks: Mapping[str, Any]
) -> None:
    """Raise RunDirectoryError, with the differences, if the directory holds another run."""
    asked = {"sweep": []} | identity
    there = {"sweep": []} | {name: saved[name] for name in asked if name in saved}
    _refuse(directory, "is a run with another configuration", differences(there, asked))
    before = saved.get("networks", {})
    lines = [
        line
        for member in networks
        if member in before
        for line in differences(
            before[member]["data"], networks[member]["data"], f"{member}.data".lstrip(".")
        )
    ]
    _refuse(directory, "was trained on data that have changed since", lines)


def _refuse(directory: Path, reason: str, lines: Sequence[str]) -> None:
    if lines:
        more = f"\n  … and {len(lines) - LISTED} more" if len(lines) > LISTED else ""
        raise RunDirectoryError(
            f"{directory} {reason}:\n"
            + "\n".join(f"  {line}" for line in lines[:LISTED])
            + more
            + "\nGive another --name, or --overwrite to start it anew"
        )


def differences(saved: Any, asked: Any, path: str = "") -> list[str]:
    """Lines that name every value in which two trees differ."""
    lists = isinstance(saved, list) and isinstance(asked, list)
    if lists and max(len(saved), len(asked)) > SHORT_LIST:
        saved, asked = dict(enumerate(saved)), dict(enumerate(asked))
    if isinstance(saved, dict) and isinstance(asked, dict):
        return [
            line
            for name in dict.fromkeys([*saved, *asked])
            for line in differences(
                saved.get(name, "not there"),
                asked.get(name, "not there"),
                f"{path}.{name}" if path else f"{name}",
            )
        ]
    if saved == asked:
        return []
    return [f"{path}: there {saved!r}, asked {asked!r}"]


def load_config(config_class: type[Config], directory: Path) -> tuple[Config, int]:
    """The configuration and seed of a run, from its ``config.json``.

    Raises:
        RunDirectoryError: it is missing, cannot be read, or has other fields.
    """
    path = directory / "config.json"
    if not path.exists():
        raise RunDirectoryError(f"there is no run in {directory}: {path} is missing")
    saved = read_json(path)
    try:
        converter = cattrs.Converter(forbid_extra_keys=True)
        return converter.structure(saved["config"], config_class), saved["seed"]
    except (KeyError, cattrs.BaseValidationError) as error:
        details = cattrs.transform_error(error) if not isinstance(error, KeyError) else [error]
        raise RunDirectoryError(
            f"{path} is not of this experiment: {'; '.join(map(str, details))}"
        ) from None


def load_rates(directory: Path) -> tuple[float, ...]:
    """The learning rates that a run trains at once; none if it is not a sweep."""
    return tuple(read_json(directory / "config.json").get("sweep", ()))


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


def environment() -> dict[str, Any]:
    """What a run's results may depend on besides its configuration."""
    devices = jax.devices()
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "versions": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "git_commit": _git_commit(),
        "devices": {"kind": devices[0].device_kind, "count": len(devices)},
        "processes": jax.process_count(),
        "cpu_cores": os.cpu_count(),
        "operators": onednn.status(),
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _git_commit() -> str:
    """The checkout's commit, followed by + if files have been changed since."""
    root = Path(__file__).resolve().parents[2]
    try:
        commit, status = (
            subprocess.run(
                ["git", "-C", str(root), *words], capture_output=True, text=True, check=True
            ).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+" if status else "")


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file by one rename, so that it is never incomplete."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=2) + "\n")
    os.replace(partial, path)


def read_json(path: Path) -> Any:
    """Read a JSON file; raises RunDirectoryError if it is not one."""
    try:
        return json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise RunDirectoryError(f"cannot read {path}: {error}") from None
