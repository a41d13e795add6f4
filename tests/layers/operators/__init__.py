"""The operators that equal PyTorch's: each module declares those of one subject as OPERATORS."""

import pkgutil
from importlib import import_module

SUBJECTS = sorted(module.name for module in pkgutil.iter_modules(__path__))


def operators(subject):
    """The operators of one subject, a module of this package."""
    return import_module(f"{__name__}.{subject}").OPERATORS
