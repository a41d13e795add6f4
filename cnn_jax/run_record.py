"""The config.json of a run: where it is, and what it must hold."""

from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any

from cnn_jax.durable import copy_of, read_kept_record
from cnn_jax.errors import UserError

Types = Mapping[str, type | UnionType]

NAME = "config.json"
_ENTRIES: Types = {
    "experiment": str,
    "config": dict,
    "seed": int,
    "data": dict,
    "sweep": list,
    "networks": dict,
    "earlier": list,
    "resumed": list,
}
_REQUIRED = ("experiment", "config", "seed")
"""Older versions wrote runs without the others."""
_NETWORK: Types = {"task": dict, "preprocessing": dict | None, "data": dict}
_DATA: Types = {"title": str, "class_names": list}


class NoRunRecord(UserError):
    """A config.json that is not one of a run."""


def is_run(directory: Path) -> bool:
    """Whether a directory holds a config.json, or the copy of it."""
    path = directory / NAME
    return path.exists() or copy_of(path).exists()


def read_run_record(directory: Path) -> tuple[dict[str, Any], str]:
    """The config.json of a run, from its copy if it is damaged, and what is wrong with it.

    Raises:
        DamagedFile: neither can be read.
        NoRunRecord: an entry is missing or of another type.
    """
    path = directory / NAME
    saved, damage = read_kept_record(path)
    _check(path, saved, _ENTRIES, _REQUIRED)
    for member, network in saved.get("networks", {}).items():
        where = f"networks.{member or '(the run)'}"
        if not isinstance(network, dict):
            raise _wrong(path, where, network, dict)
        _check(path, network, _NETWORK, tuple(_NETWORK), f"{where}.")
        _check(path, network["data"], _DATA, tuple(_DATA), f"{where}.data.")
    return saved, damage


def _check(
    path: Path,
    entries: Mapping[str, Any],
    types: Types,
    required: tuple[str, ...],
    prefix: str = "",
) -> None:
    for name in required:
        if name not in entries:
            raise NoRunRecord(f"{path} is not one of a run: it has no entry {prefix}{name}")
    for name, kind in types.items():
        if name in entries and not isinstance(entries[name], kind):
            raise _wrong(path, prefix + name, entries[name], kind)


def _wrong(path: Path, entry: str, value: Any, kind: type | UnionType) -> NoRunRecord:
    return NoRunRecord(
        f"{path} is not one of a run: its entry {entry} is {value!r:.80}, expected a value of the "
        f"type {getattr(kind, '__name__', kind)}"
    )
