"""The error for data that the user can fix."""

from collections.abc import Sequence

from cnn_jax.errors import UserError


class DataError(UserError):
    """A problem with the data that the user can fix. The message is shown without a traceback."""


class UnreadableImage(DataError):
    """An image file that cannot be read."""


class UnreadableWarning(UserWarning):
    """An image that cannot be read is left out."""


SKIP_HINT = "repair or remove them, or leave them out with --data.skip-unreadable"


class SourceError(DataError):
    """A data set of which no example can be trusted; one message says it of all."""


LISTED = 10
"""At most this many examples are listed in a message."""


def some_of(errors: Sequence[str]) -> str:
    """The first errors, one per line, and the number of those left out."""
    lines = list(errors[:LISTED])
    if len(errors) > LISTED:
        lines.append(f"… and {len(errors) - LISTED:,} more")
    return "\n  ".join(lines)
