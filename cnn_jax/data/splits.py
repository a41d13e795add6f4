"""Which examples make train, validation and test: expressions like "train[:90%]" and defaults."""

import re
from collections.abc import Mapping
from difflib import get_close_matches

import numpy as np
from jaxtyping import Int64

from cnn_jax.data.dataset import DataError

Ranges = tuple[tuple[str, int, int], ...]
"""(stored split, first, past the last) of every part of an expression."""

_PART = re.compile(r"(?P<split>[^\[\]+\s]+)(\[(?P<start>-?\d+%?)?:(?P<stop>-?\d+%?)?\])?")


def parse_split(expression: str, sizes: Mapping[str, int]) -> Ranges:
    """Reads an expression in TFDS's notation: "train", "train[:90%]", "train[5:]+test[-10%:]".

    `sizes` holds the number of examples of every stored split. A percentage is rounded to the
    nearest example, as TFDS does; limits beyond the ends are cut to them.
    """
    ranges = []
    for part in expression.split("+"):
        match = _PART.fullmatch(part.strip())
        if match is None:
            raise DataError(
                f"cannot read the split {expression!r}: expected something like 'train',"
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
    """How many stored examples two expressions have in common."""
    return sum(
        max(0, min(stop, other_stop) - max(start, other_start))
        for split, start, stop in first
        for other, other_start, other_stop in second
        if split == other
    )


def indices_of(ranges: Ranges, split: str) -> Int64[np.ndarray, "examples"]:
    """The positions in one stored split that the ranges ask for."""
    parts = [np.arange(start, stop) for name, start, stop in ranges if name == split]
    return np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, np.int64)


def choose_splits(
    sizes: Mapping[str, int], *, train: str = "", validation: str = "", test: str = ""
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Fills in what the user left open; returns expressions by role, and notes.

    Validation is the stored split of that name, or else the last tenth of train (for CIFAR-10 the
    45k/5k of He et al. 2015, section 4.2); test is the stored split of that name. An explicit
    choice always stands, and "none" leaves validation or test away. A default never shares an
    example with an explicit choice: that is an error for train and validation, while test is left
    away. Explicit choices that overlap are taken, with a note.
    """
    roles = {"train": train, "validation": validation, "test": test}
    if train == "none":
        raise DataError("train='none': there is nothing to train on")
    if not train and "train" not in sizes:
        raise DataError(
            "there is no split named 'train', only "
            + ", ".join(sizes)
            + ": choose one with --data.train"
        )
    own = next((name for name in ("validation", "val", "valid") if name in sizes), "")
    cut = sizes.get("train", 0) - sizes.get("train", 0) // 10
    held_out = not validation and not own
    if not validation:
        if own:
            roles["validation"] = own
        elif cut < sizes.get("train", 0):
            roles["validation"] = f"train[{cut}:]"
        else:
            roles["validation"] = "none"
    if not train:
        takes_from_train = validation not in ("", "none") and any(
            split == "train" for split, *_ in parse_split(validation, sizes)
        )
        keeps_tenth = held_out or takes_from_train
        roles["train"] = f"train[:{cut}]" if keeps_tenth else "train"
    if not test:
        roles["test"] = "test" if "test" in sizes else "none"

    ranges = {
        role: parse_split(expression, sizes)
        for role, expression in roles.items()
        if expression != "none"
    }
    notes = []
    for role, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        if role not in ranges or other not in ranges:
            continue
        shared = shared_examples(ranges[role], ranges[other])
        explicit = {"train": bool(train), "validation": bool(validation), "test": bool(test)}
        if not shared:
            continue
        if explicit[role] and explicit[other]:
            notes.append(f"{role} and {other} share {shared:,} examples, as you asked")
        elif other == "test":
            del ranges["test"], roles["test"]
            notes.append(f"no test split: its examples are used for {role}")
        else:
            raise DataError(
                f"train={roles['train']!r} and validation={roles['validation']!r} would share"
                f" {shared:,} examples: set both --data.train and --data.validation"
                " ('none' for no validation)"
            )
    return {role: expression for role, expression in roles.items() if expression != "none"}, tuple(
        notes
    )
