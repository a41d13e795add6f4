"""What a program of a benchmark is to the process that runs it."""

from collections.abc import Callable

Run = Callable[[int], list[float]]
"""Makes n steps and returns when they are done, with numbers (losses) that another program of the
same work has in common with it."""


class Missing(Exception):
    """What a program needs is not installed, or not there; the message says what."""
