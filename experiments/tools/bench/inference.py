"""Forward passes of the same network in evaluation mode: images per second.

Batches follow one another, and each waits for its loss. The rest is as in train_step.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console

from experiments.tools.bench import train_step
from experiments.tools.bench.comparison import Comparison


@dataclass(frozen=True)
class Options(train_step.Options):
    """Forward passes: ours, PyTorch's and plain Flax's."""


def measure(options: Options, console: Console) -> Iterable[Comparison]:
    """One comparison per model."""
    return train_step.compare(options, "inference", console)
