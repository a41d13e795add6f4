"""Models by name."""

import difflib
import fnmatch
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flax import linen as nn

from cnn_jax.errors import ConfigError

IMAGENET = (224, 224, 3)
CIFAR = (32, 32, 3)
MNIST = (28, 28, 1)


@dataclass(frozen=True)
class _Entry:
    module: Callable[..., nn.Module]
    example_shape: tuple[int, int, int]
    defaults: Mapping[str, Any]
    fixed: Mapping[str, Any]


_ENTRIES: dict[str, _Entry] = {}

# Every linen module has these fields; they say where a module sits, not what it is.
_LINEN_FIELDS = ("parent", "name")


def register(
    name: str,
    module: Callable[..., nn.Module],
    example_shape: tuple[int, int, int],
    *,
    defaults: Mapping[str, Any] | None = None,
    **fixed: Any,
) -> None:
    """Make `create_model(name, **attributes)` return `module(**attributes)`.

    Args:
        name: of the model.
        module: its class.
        example_shape: height, width and channels of an image that the model is made for.
        defaults: attributes that `create_model` may change, where they differ from the class's.
        fixed: attributes that the name stands for; `create_model` does not change them.

    Raises:
        ValueError: the name is taken.
    """
    if name in _ENTRIES:
        raise ValueError(f"there is already a model named {name!r}")
    _ENTRIES[name] = _Entry(module, example_shape, defaults or {}, fixed)


def create_model(name: str, **attributes: Any) -> nn.Module:
    """The model of that name, with attributes such as `num_classes` where they differ.

    Raises:
        ConfigError: unknown name (close ones are listed) or attribute (all are listed).
    """
    entry = _find(name)
    parameters = inspect.signature(entry.module).parameters
    known = [p for p in parameters if p not in entry.fixed and p not in _LINEN_FIELDS]
    if unknown := [attribute for attribute in attributes if attribute not in known]:
        raise ConfigError(
            f"unknown attribute {', '.join(map(repr, unknown))} of model {name!r}; "
            f"there are {', '.join(known)}"
        )
    return entry.module(**{**entry.defaults, **attributes, **entry.fixed})


def example_shape(name: str) -> tuple[int, int, int]:
    """Height, width and channels of an image that the model of that name is made for.

    Most models also take images of other sizes.

    Raises:
        ConfigError: unknown name (close ones are listed).
    """
    return _find(name).example_shape


def registered_name(model: nn.Module) -> str:
    """The name that a model was created by; of a model that is not registered, its class's.

    Attributes that a name does not stand for, such as `num_classes`, may have any value.
    """

    def agreeing(attributes: Mapping[str, Any]) -> int:
        return sum(getattr(model, name) == value for name, value in attributes.items())

    fits = {
        name: (len(entry.fixed), agreeing(entry.defaults))
        for name, entry in _ENTRIES.items()
        if type(model) is entry.module and agreeing(entry.fixed) == len(entry.fixed)
    }
    return max(fits, key=fits.__getitem__, default=type(model).__name__)


def list_models(pattern: str = "*") -> list[str]:
    """Names of all models that match a shell pattern such as "resnet*", in order."""
    return sorted(fnmatch.filter(_ENTRIES, pattern), key=_by_number)


def _find(name: str) -> _Entry:
    if name not in _ENTRIES:
        close = difflib.get_close_matches(name, _ENTRIES, n=5)
        hint = f"did you mean {', '.join(close)}?" if close else "see cnn_jax.models.list_models()"
        raise ConfigError(f"unknown model {name!r}; {hint}")
    return _ENTRIES[name]


def _by_number(name: str) -> tuple[str, int]:
    stem = name.rstrip("0123456789")
    return stem, int(name[len(stem) :] or 0)
