"""Errors that a user can mend: their message is shown as it is, without a traceback."""

from collections.abc import Sequence
from typing import Any

LARGEST = 2**31 - 1
"""The largest number of an option: steps, seeds and sizes are int32 in JAX."""


class UserError(Exception):
    """Something the user gave or has is wrong; the message says what and the way out."""


class ConfigError(UserError, ValueError):
    """An option, a name or a shape that cannot be used."""


def check_range(
    config: Any,
    low: float,
    high: float = LARGEST,
    *,
    above: bool = False,
    **fields: float | Sequence[float] | None,
) -> None:
    """Raise UserError unless the fields of a configuration are numbers between two bounds.

    Args:
        config: the dataclass, named in the message.
        low: the smallest value allowed.
        high: the largest value allowed.
        above: whether ``low`` itself is not allowed.
        fields: the values by name; each number of a sequence is checked, None is left out.
    """
    expected = f"more than {low:g}" if above else f"at least {low:g}"
    if high < LARGEST:
        expected += f" and at most {high:g}"
    for name, field in fields.items():
        for value in field if isinstance(field, Sequence) else (field,):
            if value is None or ((low < value if above else low <= value) and value <= high):
                continue
            if value > high == LARGEST:
                expected += f" and at most {LARGEST}"
            # No ValueError: tyro would show it in a box, with line breaks.
            raise UserError(
                f"{type(config).__name__}.{name} must be {expected}, got {value} (on a command "
                f"line: the flag that ends in {name.replace('_', '-')})"
            )
