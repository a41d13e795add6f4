"""Errors that the user can correct end a tool with a message and no traceback."""

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
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(2) from None
