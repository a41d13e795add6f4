"""What a side of a benchmark is in the process that runs it."""

from collections.abc import Callable
from typing import Any

import numpy as np

RunSteps = Callable[[int], list[float]]
"""Makes n steps, waits for them, and returns numbers (losses) that are equal on all sides."""


class Missing(Exception):
    """Something that a side needs is not installed or does not exist; the message says what."""


def digest(array: Any) -> float:
    """A weighted sum of an array's values, which is equal for equal arrays.

    It may take longer than a step: do not compute it while steps are measured.
    """
    values = np.asarray(array, np.float64).ravel()
    weights = np.random.default_rng(0).standard_normal(values.size)
    return float(values @ weights / np.linalg.norm(values))
