"""Options that the suites share."""

from dataclasses import dataclass
from typing import Literal

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Rounds:
    """How often to measure, and where to write the results."""

    rounds: int = 7
    """Measurements of each side, in turn."""
    output: str = ""
    """JSON file for all measurements, with hardware and versions."""


@dataclass(frozen=True)
class Steps(Rounds):
    """How long a measurement is."""

    steps: int = 10
    """Steps per measurement."""
    batch_size: int = 0
    """Examples per step over all devices; 0 takes the case's for this machine."""
