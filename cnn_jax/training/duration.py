"""Durations: "10 epochs", "64000 steps" or "3.2e6 examples"."""

import re
from collections.abc import Sequence
from typing import Any

from cnn_jax.errors import LARGEST, ConfigError, UserError, flag_of

UNITS = ("steps", "epochs", "examples")


def check_durations(config: Any, **fields: str | Sequence[str]) -> None:
    """Raise UserError unless the fields of a configuration are durations.

    Args:
        config: the dataclass, named in the message.
        fields: the durations by name, one or several.
    """
    for name, field in fields.items():
        for duration in (field,) if isinstance(field, str) else field:
            try:
                # The data are not known yet: the fewest steps that it can be.
                to_steps(duration, batch_size=LARGEST, steps_per_epoch=1)
            except ConfigError as error:
                # No ValueError: tyro would show it in a box, with line breaks.
                raise UserError(
                    f"{type(config).__name__}.{name}: {error} ({flag_of(name)})"
                ) from None


def to_steps(duration: str, *, batch_size: int, steps_per_epoch: int) -> int:
    """Convert a duration to training steps, rounded to the nearest integer, but not to zero.

    Args:
        duration: a number and a unit, ``steps``, ``epochs`` or ``examples``. The space between
            them and the final s are optional: ``10epochs``, ``1 epoch``, ``64000 steps``.
        batch_size: examples per step.
        steps_per_epoch: steps in one pass over the training examples.

    Raises:
        ConfigError: ``duration`` has another form, or more steps than an int32 can count.
    """
    match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([a-z]+)\s*", duration)
    units = [u for u in UNITS if match and match[2] in (u, u[:-1])]
    try:
        number = float(match[1]) if match and units else -1.0
    except ValueError:
        number = -1.0
    if number < 0:
        raise ConfigError(
            f"{duration!r} is not a duration; expected a number and one of "
            f"{', '.join(UNITS)}, such as 10epochs or '64000 steps'"
        )
    factor = {"steps": 1.0, "epochs": steps_per_epoch, "examples": 1.0 / batch_size}[units[0]]
    if number * factor > LARGEST:
        raise ConfigError(f"{duration!r} is longer than {LARGEST:,} steps, which is the limit")
    return max(round(number * factor), 1) if number else 0
