"""Split expressions such as "train[:90%]", and the defaults for train, validation and test."""

import re
from collections.abc import Mapping
from difflib import get_close_matches

from cnn_jax.data.errors import DataError

Ranges = tuple[tuple[str, int, int], ...]
"""(stored split, start, stop) of every part of an expression."""

_PART = re.compile(r"(?P<split>[^\[\]+\s]+)(\[(?P<start>-?\d+%?)?:(?P<stop>-?\d+%?)?\])?")


def parse_split(expression: str, sizes: Mapping[str, int]) -> Ranges:
    """Parses an expression in TFDS notation: "train", "train[:90%]", "train[5:]+test[-10%:]".

    `sizes` holds the number of examples of every stored split. Percentages are rounded to the
    nearest example, as in TFDS. Limits beyond the ends are clipped.

    Raises:
        DataError: the expression is malformed or empty, or names an unknown split.
    """
    ranges = []
    for part in expression.split("+"):
        match = _PART.fullmatch(part.strip())
        limits = [limit for limit in (match["start"], match["stop"]) if limit] if match else []
        mixed = len({limit.endswith("%") for limit in limits}) > 1  # TFDS reads both as percent
        if match is None or mixed:
            raise DataError(
                f"cannot parse the split {expression!r}: expected something like 'train',"
                " 'train[:90%]', 'train[1000:2000]' or 'train+test'"
            )
        split = match["split"]
        if split not in sizes:
            close = get_close_matches(split, sizes, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise DataError(
                f"unknown split {split!r}{hint}: there are "
                + ", ".join(f"{name} ({size:,})" for name, size in sizes.items())
            )
        size = sizes[split]
        start, stop = _bound(match["start"], size, 0), _bound(match["stop"], size, size)
        if stop <= start:
            raise DataError(f"the split {part.strip()!r} is empty: {split} has {size:,} examples")
        ranges.append((split, start, stop))
    return tuple(ranges)


def _bound(text: str | None, size: int, default: int) -> int:
    if text is None:
        return default
    position = round(int(text[:-1]) * size / 100) if text.endswith("%") else int(text)
    return min(max(position + size if position < 0 else position, 0), size)


def shared_examples(first: Ranges, second: Ranges) -> int:
    """The number of stored examples that two expressions have in common."""
    return sum(
        max(0, min(stop, other_stop) - max(start, other_start))
        for split, start, stop in first
        for other, other_start, other_stop in second
        if split == other
    )


def choose_splits(
    sizes: Mapping[str, int],
    *,
    train: str = "",
    validation: str = "",
    test: str = "",
    defaults: Mapping[str, str] | None = None,
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Chooses an expression for every role that the user left open. Also returns notes.

    By default, validation is the stored split of that name, or else the last tenth of train (for
    CIFAR-10 the 45k/5k of He et al. 2015, section 4.2), and test is the stored split of that name.
    `defaults` replaces these rules. "none" removes validation or test.

    Explicit choices are kept; if two of them overlap, there is a note. If the default for test
    overlaps with another role, test is removed.

    Raises:
        DataError: there is nothing to train on; another default overlaps with a role.
    """
    asked = {"train": train, "validation": validation, "test": test}
    if train == "none":
        raise DataError("train='none': there is nothing to train on")
    defaults = dict(defaults or {})
    usual = _usual_roles(sizes, validation or defaults.get("validation", ""))
    roles = {role: asked[role] or defaults.get(role) or usual[role] for role in usual}
    if not roles["train"]:
        raise DataError(
            f"there is no split named 'train', only {', '.join(sizes)}: choose one with"
            " --data.train"
        )
    roles = {role: expression for role, expression in roles.items() if expression != "none"}
    ranges = {role: parse_split(expression, sizes) for role, expression in roles.items()}
    notes = []
    for role, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        if role not in roles or other not in roles:
            continue
        shared = shared_examples(ranges[role], ranges[other])
        if not shared:
            continue
        if asked[role] and asked[other]:
            notes.append(f"{role} and {other} share {shared:,} examples")
        elif other == "test" and not test:
            del roles["test"]
            notes.append(f"no test split: its examples are used for {role}")
        else:
            raise DataError(
                f"{role}={roles[role]!r} and {other}={roles[other]!r} share {shared:,} examples:"
                f" set both --data.{role} and --data.{other}"
                + (" (or --data.validation none)" if other == "validation" else "")
            )
    return roles, tuple(notes)


def _usual_roles(sizes: Mapping[str, int], validation: str) -> dict[str, str]:
    count = sizes.get("train", 0)
    cut = count - count // 10
    own = next((name for name in ("validation", "val", "valid") if name in sizes), "")
    held_out = f"train[{cut}:]" if cut < count else "none"
    # Train excludes the last tenth if validation uses it, by default or by the user's choice, but
    # not if the user wants no validation or another one.
    keeps_tenth = (not own and not validation) or "train" in validation
    return {
        "train": f"train[:{cut}]" if count and keeps_tenth else "train" if count else "",
        "validation": own or held_out,
        "test": "test" if "test" in sizes else "none",
    }
