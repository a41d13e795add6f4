"""Which of the stored examples are for training, validation and test."""

import re
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from jaxtyping import Int

from cnn_jax.data.errors import DataError
from cnn_jax.data.held_out import hold_out
from cnn_jax.data.split_expressions import listed, parse_split

Parts = tuple[tuple[str, Int[np.ndarray, "_"]], ...]
"""The stored splits of a role, with the places of its examples in them."""


def holds_out(
    sizes: Mapping[str, int],
    validation: str = "",
    defaults: Mapping[str, str] | None = None,
    unusable: Mapping[str, str] | None = None,
) -> bool:
    """Whether `choose_splits` takes validation from train, so that it needs the labels of train."""
    own = _own({*sizes, *(unusable or {})}, "validation")
    return not (validation or (defaults or {}).get("validation") or own) and "train" in sizes


def choose_splits(
    sizes: Mapping[str, int],
    *,
    train: str = "",
    validation: str = "",
    test: str = "",
    defaults: Mapping[str, str] | None = None,
    unusable: Mapping[str, str] | None = None,
    labels: Int[np.ndarray, "examples"] | None = None,
    only: Sequence[str] = (),
) -> tuple[dict[str, Parts], tuple[str, ...]]:
    """Chooses the examples of every role that the user left open. Also returns notes.

    By default, validation is the stored split of that name, or else a random tenth of train, with
    the classes of train (see `hold_out`), and test is the stored split of that name. Train is what
    the others leave of the stored split "train". `defaults` replaces these rules. "none" removes
    validation or test.

    Explicit choices are kept; if two of them overlap, there is a note. If the default for test
    overlaps with another role, test is removed.

    Args:
        sizes: the number of examples of every stored split.
        train: an expression such as "train[:90%]", or "" for the default.
        validation: an expression, "none", or "".
        test: an expression, "none", or "".
        defaults: expressions for roles that are "".
        unusable: stored splits that cannot be used, with the reasons.
        labels: of the stored split "train", in case of `holds_out`; None divides it without them.
        only: returns the first of these roles that is there, alone. What is missing or wrong with
            the others is then no error.

    Raises:
        DataError: there is nothing to train on, or no role in `only`; a role uses a split that
            cannot be used; a default overlaps with another role.
    """
    unusable, defaults = unusable or {}, defaults or {}
    asked = {"train": train, "validation": validation, "test": test}
    stored = {*sizes, *unusable}
    expressions = {
        role: expression or defaults.get(role) or ("" if role == "train" else _own(stored, role))
        for role, expression in asked.items()
    }
    parts = {
        role: _parts(expression, sizes, unusable)
        for role, expression in expressions.items()
        if expression not in ("", "none") and not (only and expression in unusable)
    }

    taken = [places for one in parts.values() for split, places in one if split == "train"]
    left = np.setdiff1d(np.arange(sizes.get("train", 0)), np.concatenate([[], *taken])).astype(int)
    if holds_out(sizes, validation, defaults, unusable):
        tenth = sizes["train"] // 10
        if tenth > len(left) and (not only or "validation" in only):
            raise DataError(
                f"{_taking(expressions)} leave {len(left):,} examples of 'train' for validation, by"
                " default a tenth of it: set both --data.train and --data.validation (or"
                " --data.validation none)"
            )
        left, held = hold_out(left, min(tenth, len(left)), labels)
        if len(held):
            parts["validation"] = (("train", held),)
    if not expressions["train"] and len(left):
        parts["train"] = (("train", left),)

    if only:
        return _first(parts, only, expressions, sizes, unusable), ()
    if "train" not in parts:
        raise DataError(_nothing_to_train_on(train, expressions, sizes, unusable))
    notes = _overlaps(parts, asked, expressions)
    return {role: parts[role] for role in asked if role in parts}, notes


def _own(stored: Collection[str], role: str) -> str:
    """The stored split of a role, by its name."""
    names = ("validation", "val", "valid") if role == "validation" else (role,)
    return next((name for name in names if name in stored), "")


def _parts(expression: str, sizes: Mapping[str, int], unusable: Mapping[str, str]) -> Parts:
    for split, reason in unusable.items():
        if split in re.split(r"[\[\]+\s]+", expression):
            raise DataError(reason)
    ranges = parse_split(expression, sizes)
    return tuple((split, np.arange(start, stop)) for split, start, stop in ranges)


def _first(
    parts: Mapping[str, Parts],
    roles: Sequence[str],
    expressions: Mapping[str, str],
    sizes: Mapping[str, int],
    unusable: Mapping[str, str],
) -> dict[str, Parts]:
    """The first of the roles that is there."""
    for role in roles:
        if role in parts:
            return {role: parts[role]}
    for role in roles:
        if expressions[role] in unusable:
            raise DataError(unusable[expressions[role]])
    raise DataError(
        f"there is no split for {' or '.join(roles)}, only {listed(sizes) or 'nothing'}: choose"
        f" one with --data.{roles[0]}"
    )


def _nothing_to_train_on(
    train: str,
    expressions: Mapping[str, str],
    sizes: Mapping[str, int],
    unusable: Mapping[str, str],
) -> str:
    if train == "none":
        return "train='none': there is nothing to train on"
    if "train" in unusable:
        return unusable["train"]
    if "train" in sizes:
        return f"there is nothing to train on: {_taking(expressions)} take all examples of 'train'"
    return (
        f"there is no split named 'train', only {listed(sizes) or 'nothing'}: choose one with"
        " --data.train"
    )


def _taking(expressions: Mapping[str, str]) -> str:
    """The roles that take examples of the stored split "train"."""
    return " and ".join(f"{role}={one!r}" for role, one in expressions.items() if "train" in one)


def _overlaps(
    parts: dict[str, Parts], asked: Mapping[str, str], expressions: Mapping[str, str]
) -> tuple[str, ...]:
    """Notes on roles that share examples. Removes test if that is a default."""
    notes = []
    for role, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        shared = shared_examples(parts.get(role, ()), parts.get(other, ()))
        if not shared:
            continue
        if asked[role] and asked[other]:
            notes.append(f"{role} and {other} share {shared:,} examples")
        elif other == "test" and not asked["test"]:
            del parts["test"]
            notes.append(f"no test split: its examples are used for {role}")
        else:
            raise DataError(
                f"{role}={expressions[role]!r} and {other}={expressions[other]!r} share"
                f" {shared:,} examples: set both --data.{role} and --data.{other}"
                + (" (or --data.validation none)" if other == "validation" else "")
            )
    return tuple(notes)


def shared_examples(first: Parts, second: Parts) -> int:
    """The number of stored examples that two roles have in common."""
    return sum(
        len(np.intersect1d(places, others))
        for split, places in first
        for other, others in second
        if split == other
    )
