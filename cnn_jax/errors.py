"""Errors that a user can mend: their message is shown as it is, without a traceback."""

import math
from collections.abc import Sequence
from typing import Any

LARGEST = 2**31 - 1
"""The largest integer of an option: steps, seeds and sizes are int32 in JAX."""


class UserError(Exception):
    """Something the user gave or has is wrong; the message says what and the way out."""


class ConfigError(UserError, ValueError):
    """An option, a name or a shape that cannot be used."""


def check_range(
    config: Any,
    low: float,
    high: float = math.inf,
    *,
    above: bool = False,
    **fields: float | Sequence[float] | None,
) -> None:
    """Raise UserError unless the fields of a configuration are numbers between two bounds.

    Args:
        config: the dataclass, named in the message.
        low: the smallest value allowed.
        high: the largest value allowed; at most `LARGEST` for an integer, and finite.
        above: whether ``low`` itself is not allowed.
        fields: the values by name; each number of a sequence is checked, None is left out.
    """
    for name, field in fields.items():
        for value in field if isinstance(field, Sequence) else (field,):
            if value is None:
                continue
            largest = min(high, LARGEST) if isinstance(value, int) else high
            if (low < value if above else low <= value) and value <= largest and value < math.inf:
                continue
            expected = f"more than {low:g}" if above else f"at least {low:g}"
            if high < math.inf or value > largest:
                expected += f" and at most {largest:,}"
            # No ValueError: tyro would show it in a box, with line breaks.
            raise UserError(
                f"{type(config).__name__}.{name} must be {expected}, got {value} ({flag_of(name)})"
            )


def flag_of(name: str) -> str:
    """Where a field of a configuration is found on a command line."""
    return f"on a command line: the flag that ends in {name.replace('_', '-')}"
