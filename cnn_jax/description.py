"""Modules and tasks as JSON, so that a run's directory says what its network is.

`describe` makes plain values of a dataclass or linen module: its import path and its fields, with
tuples as lists, dtypes by name, and functions by import path. `rebuild` makes it again, and never
imports or calls anything else: a description may come from somebody else.
"""

import dataclasses
import importlib
import sys
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from cnn_jax.errors import UserError

PACKAGES = ("cnn_jax", "experiments")
"""Packages whose classes and functions may be named."""
FUNCTIONS = ("jax.nn", "jax.nn.initializers")
"""Modules whose functions may be named beside them; Flax exports the same ones."""


class DescriptionError(UserError):
    """A value that cannot be described, or a description that cannot be rebuilt."""


def describe(value: Any) -> Any:
    """The value as JSON holds it; `rebuild` returns an equal one.

    Args:
        value: a dataclass instance or an unbound linen module, whose fields are numbers, strings,
            None, tuples, mappings with string keys, dtypes, functions, or again such instances.

    Raises:
        DescriptionError: a field holds something else; the message names it.
    """
    return _describe(value, type(value).__name__)


def _describe(value: Any, where: str) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if type(value) is tuple:
        return [_describe(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {
            "mapping": {key: _describe(item, f"{where}[{key!r}]") for key, item in value.items()}
        }
    if _is_dtype(value):
        return {"dtype": jnp.dtype(value).name}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            # A module's parent says where it sits, not what it is.
            field.name: _describe(getattr(value, field.name), f"{where}.{field.name}")
            for field in dataclasses.fields(value)
            if field.init and field.name != "parent"
        }
        return {"class": _path(type(value), where), "fields": fields}
    if callable(value):
        return {"function": _path(value, where)}
    raise DescriptionError(
        f"{where} is a {type(value).__name__}, which cannot be described in config.json: use a "
        "number, a string, None, a tuple, a dtype, a function, or a dataclass of these"
    )


def _is_dtype(value: Any) -> bool:
    """Whether it is a dtype, in NumPy's two ways of saying it or in JAX's, such as jnp.bfloat16."""
    of_numpy = isinstance(value, type) and issubclass(value, np.generic)
    return of_numpy or isinstance(value, np.dtype | type(jnp.bfloat16))


def _path(value: Any, where: str) -> str:
    """The import path of a class or function."""
    name = getattr(value, "__name__", "")
    for path in FUNCTIONS:
        if getattr(importlib.import_module(path), name, None) is value:
            return f"{path}.{name}"
    module = sys.modules.get(getattr(value, "__module__", None) or "")
    # In a module that was started by python -m, "__main__" stands for the module's name.
    spec = getattr(module, "__spec__", None)
    if getattr(module, name, None) is value and spec and _is_ours(spec.name):
        return f"{spec.name}.{name}"
    raise DescriptionError(
        f"{where} is {value!r}, which cannot be imported by name from {' or '.join(PACKAGES)}, so "
        "config.json cannot describe it: define it at the top level of a module there, or use a "
        "field that holds its name"
    )


def _is_ours(module: str) -> bool:
    package, *parts = module.split(".")
    return package in PACKAGES and not any(part.startswith("_") for part in parts)


def rebuild(description: Any) -> Any:
    """The value that `describe` was given.

    Raises:
        DescriptionError: it names something that is not there or not allowed, or fields or values
            that its class does not have.
    """
    match description:
        case None | bool() | int() | float() | str():
            return description
        case list():
            return tuple(map(rebuild, description))
        case {"mapping": dict(items)}:
            return {key: rebuild(item) for key, item in items.items()}
        case {"dtype": str(name)}:
            return _dtype(name)
        case {"class": str(path), "fields": dict(fields)}:
            return _instance(path, {name: rebuild(field) for name, field in fields.items()})
        case {"function": str(path)}:
            return _find(path)
    raise DescriptionError(f"expected a description of a value, got {description!r}")


def _dtype(name: str) -> Any:
    try:
        return getattr(jnp, jnp.dtype(name).name)
    except (TypeError, AttributeError):
        raise DescriptionError(f"there is no dtype {name!r}") from None


def _instance(path: str, fields: dict[str, Any]) -> Any:
    kind = _find(path)
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        raise DescriptionError(f"{path} is not a dataclass or module")
    try:
        return kind(**fields)
    except (TypeError, ValueError, UserError) as error:
        raise DescriptionError(
            f"{path} refuses the fields that it is described with ({error}): the code has changed "
            "since; use the version that the description was written with"
        ) from None


def _find(path: str) -> Any:
    """The class or function of an import path."""
    module, _, name = path.rpartition(".")
    if not (module in FUNCTIONS or _is_ours(module)):
        raise DescriptionError(
            f"a description may only name classes and functions of {', '.join(PACKAGES)} and "
            f"{', '.join(FUNCTIONS)}, got {path!r}"
        )
    try:
        value = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        package = module.split(".")[0]
        if isinstance(error, ModuleNotFoundError) and error.name == package:
            raise DescriptionError(
                f"{path} is defined beside the library, in {package}/, which cannot be imported: "
                f"add the checkout that holds {package}/ to PYTHONPATH"
            ) from None
        if isinstance(error, ModuleNotFoundError) and not _is_ours(error.name or ""):
            raise DescriptionError(f"{path} cannot be imported: {error}; install it") from None
        raise DescriptionError(
            f"there is no {path}: the code has changed since; use the version that the description "
            "was written with"
        ) from None
    # What a module has imported from elsewhere is not its own.
    own = module in FUNCTIONS or getattr(value, "__module__", None) == module
    if not (own and callable(value)):
        raise DescriptionError(f"{path} is not a class or function that is defined there")
    return value
