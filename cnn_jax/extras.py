"""Packages of the extras: what `pip install cnn-jax` alone does not bring."""

from collections.abc import Iterator
from contextlib import contextmanager

from cnn_jax.errors import UserError


class MissingExtra(UserError, ImportError):
    """A package of an extra is not installed; the message says how to install it."""


@contextmanager
def extra(name: str, use: str) -> Iterator[None]:
    """For imports of packages that belong to an extra.

    Args:
        name: of the extra.
        use: what needs the packages, such as "a download"; the message begins with it.

    Raises:
        MissingExtra: one of them is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("cnn_jax", "experiments", ""):
            raise
        raise MissingExtra(
            f"{use} needs {package}, which is not installed: pip install 'cnn-jax[{name}]'"
        ) from error
