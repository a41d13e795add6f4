"""What the suites' command lines have in common."""

from dataclasses import dataclass
from typing import Literal

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Rounds:
    """How often to measure, and where to write it."""

    rounds: int = 7
    """Measurements of each program, in turn."""
    output: str = ""
    """JSON file for all measurements, with hardware and versions."""


@dataclass(frozen=True)
class Steps(Rounds):
    """Also how long a measurement is."""

    steps: int = 10
    """Steps a measurement."""
    batch_size: int = 0
    """Examples a step, over all devices; 0 is what the case has for the machine."""
