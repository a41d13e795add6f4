"""What a tool says: errors without a traceback, and names as a terminal can show them."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from cnn_jax.errors import UserError

OF_JAX = "JAX has removed its internal frames"
"""Part of a note that JAX adds to an error in a traced function, about its traceback."""


@contextmanager
def user_errors(
    console: Console, *, less_memory: str = "smaller batches or images"
) -> Iterator[None]:
    """Print the message of an error that a user can mend, and exit with status 2.

    Args:
        console: to print to.
        less_memory: what needs less of it, for the message of a command that has run out of it.
    """
    try:
        yield
    except Exception as error:
        text = str(error) if isinstance(error, UserError) else _limit(error, less_memory)
        if not text:
            raise
        notes = [one for one in getattr(error, "__notes__", ()) if OF_JAX not in one]
        console.print("[bold red]error:[/]", end=" ")
        say(console, "\n".join([text, *notes]))
        raise SystemExit(2) from None


def _limit(error: Exception, less_memory: str) -> str:
    """What to do about a limit of the machine that was met; "" for any other error."""
    # Checkpoints are written by TensorStore, which gives the system's words in a ValueError.
    text = " ".join(str(error).split())
    for code, advice in _DISK.items():
        if getattr(error, "errno", None) == code or (
            isinstance(error, ValueError) and os.strerror(code) in text
        ):
            path = getattr(error, "filename", None) or next(
                iter(re.findall('"(/[^"]+)"', text)), ""
            )
            what = f"cannot write {path}: {os.strerror(code)}" if path else os.strerror(code)
            return f"{advice}: {what}; what was saved before is intact"
    if isinstance(error, MemoryError) or "out of memory" in text.lower():
        asked = text.removeprefix("RESOURCE_EXHAUSTED: ").rstrip(".") or "the system gives no more"
        return f"out of memory: {asked}; it takes less with {less_memory}"
    return ""


_DISK = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file would be larger than allowed (ulimit -f)",
    errno.EROFS: "the disk is read-only",
}


def say(console: Console, text: str) -> None:
    """Print a text as it is, without markup or added line breaks."""
    lines = "\n".join(map(printable, text.split("\n")))
    console.print(lines, markup=False, highlight=False, soft_wrap=True)


def printable(text: object) -> str:
    """The text with control characters, and bytes that are no UTF-8, as escapes.

    File names may hold both: the first would steer the terminal, the second cannot be encoded.
    """
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in str(text)
    )
