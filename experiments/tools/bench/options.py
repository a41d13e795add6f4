"""Options that the suites share."""

from dataclasses import dataclass
from typing import Literal

from cnn_jax.errors import check_range

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Rounds:
    """How often to measure, and where to write the results."""

    rounds: int = 7
    """Measurements of each side, in turn."""
    output: str = ""
    """JSON file for all measurements, with hardware and versions."""

    def __post_init__(self) -> None:
        check_range(self, 1, rounds=self.rounds)


@dataclass(frozen=True)
class Steps(Rounds):
    """How long a measurement is."""

    steps: int = 10
    """Steps per measurement."""
    batch_size: int = 0
    """Examples per step over all devices; 0 takes the case's for this machine."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, 1, steps=self.steps)
        check_range(self, 0, batch_size=self.batch_size)
