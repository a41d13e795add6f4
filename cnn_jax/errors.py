"""Errors that a user can mend: their message is shown as it is, without a traceback."""

import math
from typing import Any


class UserError(Exception):
    """Something the user gave or has is wrong; the message says what and the way out."""


class ConfigError(UserError, ValueError):
    """An option, a name or a shape that cannot be used."""


def check_range(
    config: Any, low: float, high: float = math.inf, *, above: bool = False, **fields: float
) -> None:
    """Raise ConfigError unless the fields of a configuration are numbers between two bounds.

    Args:
        config: the dataclass, named in the message.
        low: the smallest value allowed.
        high: the largest value allowed; infinity itself is not.
        above: whether ``low`` itself is not allowed.
        fields: the values by name.
    """
    expected = f"more than {low:g}" if above else f"at least {low:g}"
    if high < math.inf:
        expected += f" and at most {high:g}"
    for name, value in fields.items():
        if not (low < value if above else low <= value) or not value <= high or value == math.inf:
            raise ConfigError(
                f"{type(config).__name__}.{name} must be {expected}, got {value} (on a command "
                f"line: the flag that ends in {name.replace('_', '-')})"
            )
