"""The console of a command: it shows what its encoding allows, and may die before the command."""

import errno
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


def standard_console() -> Console:
    """A console on standard output.

    A command does not end with its terminal, or with the reader of its pipe: what can no longer be
    written is dropped. Characters that an encoding such as ASCII lacks are shown as escapes.
    """
    for name in ("stdout", "stderr"):
        # They are None if the shell has closed them.
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    # Tables in a file or a pipe need not fit the 80 columns that are taken for granted there.
    width = None if sys.stdout.isatty() else 120
    output: Any = _Output(sys.stdout)
    return Console(file=output, width=width)


def progress_bar(console: Console) -> Progress:
    """A bar for each task, with its description and counts; nothing where there is no terminal."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:,}/{task.total:,}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


class _Output:
    """A text file that never fails."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, text: str) -> int:
        """Write, or fall silent."""
        try:
            return self._file.write(text)
        except (OSError, ValueError) as error:
            self._fall_silent(error)
            return len(text)

    def flush(self) -> None:
        """Flush, or fall silent."""
        try:
            self._file.flush()
        except (OSError, ValueError) as error:
            self._fall_silent(error)

    def _fall_silent(self, error: Exception) -> None:
        try:
            number = self._file.fileno()
        except (OSError, ValueError):
            return
        # That a disk is full is told. Who closed a terminal or a pipe knows it.
        if isinstance(error, OSError) and error.errno not in (errno.EPIPE, errno.EIO):
            with suppress(OSError, ValueError):
                print(
                    f"standard output cannot be written ({error.strerror}): the command goes on"
                    " without it",
                    file=sys.stderr,
                    flush=True,
                )
        # Python writes what is left at its exit, and would fail there.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)
