"""Arrays with values that are NaN or infinite, by name."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np


def not_finite(arrays: Mapping[str, Any]) -> list[str]:
    """A line for each array that is not finite: its name and how many of its values are not."""
    lines = []
    for name, array in arrays.items():
        if not jnp.issubdtype(array.dtype, jnp.inexact):
            continue
        if bad := int(np.sum(~np.isfinite(np.asarray(array)))):
            lines.append(f"{name} has {bad:,} of {array.size:,} values that are NaN or infinite")
    return lines
