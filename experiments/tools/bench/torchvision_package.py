"""torchvision, where it is installed or its operators are given."""

import importlib
import os
import sys
from typing import Any


def import_torchvision() -> Any:
    """Import torchvision, with the operators in CNN_JAX_TORCHVISION_CPU; see `tests/references`.

    Raises:
        ImportError, RuntimeError: it is not installed, or does not match the installed torch.
    """
    if directory := os.environ.get("CNN_JAX_TORCHVISION_CPU"):
        sys.path.insert(0, directory)
        try:
            importlib.import_module("torchvision_cpu")
        finally:
            sys.path.remove(directory)
    return importlib.import_module("torchvision")
