"""Models by name."""

import difflib
import fnmatch
import inspect
from collections.abc import Callable
from typing import Any

from flax import linen as nn

from cnn_jax.errors import ConfigError

_FACTORIES: dict[str, Callable[..., nn.Module]] = {}


def register(name: str, factory: Callable[..., nn.Module]) -> None:
    """Make `create_model(name, **attributes)` call `factory(**attributes)`.

    The factory's keyword parameters are the attributes that a caller may set; bind with
    `functools.partial` by position what the name decides, by keyword what it only suggests.

    Raises:
        ValueError: the name is taken.
    """
    if name in _FACTORIES:
        raise ValueError(f"there is already a model named {name!r}")
    _FACTORIES[name] = factory


def create_model(name: str, **attributes: Any) -> nn.Module:
    """The model of that name, with attributes such as `num_classes` where they differ.

    Raises:
        ConfigError: unknown name (close ones are named) or attribute (all are named).
    """
    if name not in _FACTORIES:
        close = difflib.get_close_matches(name, _FACTORIES, n=5)
        hint = f"did you mean {', '.join(close)}?" if close else "see cnn_jax.models.list_models()"
        raise ConfigError(f"unknown model {name!r}; {hint}")
    known = [p for p in inspect.signature(_FACTORIES[name]).parameters if p not in _LINEN_FIELDS]
    if unknown := [attribute for attribute in attributes if attribute not in known]:
        raise ConfigError(
            f"unknown attribute {', '.join(map(repr, unknown))} of model {name!r}; "
            f"there are {', '.join(known)}"
        )
    return _FACTORIES[name](**attributes)


def list_models(pattern: str = "*") -> list[str]:
    """Names of all models that match a shell pattern such as "resnet*", in order."""
    return sorted(fnmatch.filter(_FACTORIES, pattern), key=_by_number)


# Every linen module has these; they say where a module sits, not what it is.
_LINEN_FIELDS = ("parent", "name")


def _by_number(name: str) -> tuple[str, int]:
    stem = name.rstrip("0123456789")
    return stem, int(name[len(stem) :] or 0)
