"""What a tool says: errors without a traceback, and names as a terminal can show them."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from cnn_jax.errors import UserError


@contextmanager
def user_errors(console: Console) -> Iterator[None]:
    """Print the message of a UserError and exit with status 2."""
    try:
        yield
    except UserError as error:
        console.print("[bold red]error:[/]", end=" ")
        say(console, str(error))
        raise SystemExit(2) from None


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
