"""Whether a directory holds the run that is asked for, and what differs if it does not."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import cattrs

from cnn_jax.errors import UserError

LISTED = 20
"""At most this many differences are listed in a message."""
SHORT_LIST = 8
"""Lists up to this length are shown whole if they differ; of longer ones the items that differ."""
Config = TypeVar("Config")

READING = {"skip_unreadable": False, "workers": 0}
"""Fields of `DataConfig` that change no example, and their defaults."""
DRAWING = ("words", "analogy", "plane", "mapped")
"""Fields of word2vec's configuration that change only what is drawn of the result."""


class RunDirectoryError(UserError):
    """A run directory that cannot be written, or belongs to another run."""


def plain(config: Any) -> Any:
    """The configuration as it comes back from JSON."""
    return json.loads(json.dumps(cattrs.unstructure(config)))


def structured(config: Any, config_class: type[Config], path: Path) -> Config:
    """The configuration that `plain` was given; fields that it lacks have their defaults.

    Raises:
        RunDirectoryError: the class has other fields, or refuses a value.
    """
    try:
        return cattrs.Converter(forbid_extra_keys=True).structure(config, config_class)
    except cattrs.BaseValidationError as error:
        refused: BaseException | None = error.subgroup(UserError)
        while isinstance(refused, BaseExceptionGroup):
            refused = refused.exceptions[0]
        if refused:
            raise _refused_today(path, refused) from None
        details = "; ".join(cattrs.transform_error(error))
        raise RunDirectoryError(
            f"{path} is not of this experiment, or of another version: {details}"
        ) from None


@contextmanager
def as_stored(path: Path) -> Iterator[None]:
    """Let an error about a value say that it stands in a config.json."""
    try:
        yield
    except (TypeError, ValueError, UserError) as error:
        raise _refused_today(path, error) from None


def _refused_today(path: Path, error: BaseException) -> RunDirectoryError:
    return RunDirectoryError(
        f"{path} holds a value that is refused today: {error}. Use the version that wrote it, at "
        "the commit that it names, or start a new run"
    )


def decisive(config: Any) -> Any:
    """A plain configuration without what may change when a run goes on: how its data are read, and
    what is drawn of it.
    """
    if not isinstance(config, dict) or not isinstance(config.get("data"), dict):
        return config
    config = {name: value for name, value in config.items() if name not in DRAWING}
    data = config["data"]
    free = {name: value for name, value in READING.items() if name in data}
    return config | {"data": data | free}


def check_same(
    directory: Path,
    saved: Mapping[str, Any],
    identity: dict[str, Any],
    networks: Mapping[str, Any],
    config_class: type | None = None,
) -> None:
    """Raise RunDirectoryError, with the differences, if the directory holds another run."""
    asked = {"sweep": []} | identity
    there = {"sweep": []} | {name: saved[name] for name in asked if name in saved}
    if config_class is not None and "config" in there:
        with suppress(RunDirectoryError):  # its differences are listed
            there["config"] = plain(structured(there["config"], config_class, directory))
    for one in (asked, there):
        one["config"] = decisive(one.get("config"))
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
