"""What a program of a benchmark is to the process that runs it."""

from collections.abc import Callable
from typing import Any

import numpy as np

Run = Callable[[int], list[float]]
"""Makes n steps and returns when they are done, with numbers (losses) that another program of the
same work has in common with it."""


class Missing(Exception):
    """What a program needs is not installed, or not there; the message says what."""


def digest(array: Any) -> float:
    """A number that equal arrays have in common: each value has a weight of its own.

    It takes longer than many a step, and is not to be made while a run is measured.
    """
    values = np.asarray(array, np.float64).ravel()
    weights = np.random.default_rng(0).standard_normal(values.size)
    return float(values @ weights / np.linalg.norm(values))
