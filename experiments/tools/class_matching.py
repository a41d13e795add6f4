"""Which outputs of a network are the classes of a data set."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cnn_jax.errors import ConfigError
from cnn_jax.imagenet import readable_classes

LISTED = 10
"""At most this many names are listed in a message."""


@dataclass(frozen=True)
class Matching:
    """The network's output for each label of the data set, the classes' names, what to say."""

    outputs: tuple[int, ...]
    class_names: tuple[str, ...]
    note: str = ""


def match_classes(
    known: Sequence[str], asked: Sequence[str], *, network: str, data: str
) -> Matching:
    """Match classes by name, or by their order if the names of either side say nothing.

    Args:
        known: names of the network's classes, by output.
        asked: names of the data set's classes, by label. They may be a part of the network's, in
            any order.
        network: title of the network.
        data: title of the data set.

    Raises:
        ConfigError: the data set has classes that the network does not know, or no classes.
    """
    if not asked:
        raise ConfigError(f"{data} has no classes: expected images with labels")
    known = readable_classes(known)  # as those of the data set are
    extra = [name for name in asked if name not in known]
    missing = [name for name in known if name not in asked]
    if len(extra) == len(asked) == len(known) and (_says_nothing(known) or _says_nothing(asked)):
        note = (
            f"the classes of {network} ({_some(known)}) and of {data} ({_some(asked)}) are matched "
            "by their order, since only one side has names"
        )
        # Numbers are the least that a reader of the tables can do with.
        names = asked if _says_nothing(known) else known
        return Matching(tuple(range(len(known))), tuple(names), note)
    if _says_nothing(known) and extra:
        raise ConfigError(
            f"{network} has {len(known)} classes without names, and {data} has {len(asked)}: give "
            "the names with --classes"
        )
    if extra:
        raise ConfigError(
            f"{data} has {len(extra)} class{'es' if len(extra) > 1 else ''} that {network} does "
            f"not know: {_some(extra)}; its classes that the data set lacks: "
            f"{_some(missing) or 'none'}. Rename the folders of the classes, or leave them out"
        )
    if twice := [name for name in asked if known.count(name) > 1]:
        raise ConfigError(f"several classes of {network} have the name {_some(twice)}")
    note = (
        f"evaluated over the {len(asked)} of {len(known)} classes of {network} that {data} has: "
        f"the most probable of these is the prediction; missing: {_some(missing)}"
    )
    outputs = tuple(known.index(name) for name in asked)
    return Matching(outputs, tuple(asked), note if missing else "")


def _says_nothing(names: Sequence[str]) -> bool:
    """Whether the names are numbers, such as "class 7" and "7"."""
    return all(re.fullmatch(r"(class )?\d+", name) for name in names)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
