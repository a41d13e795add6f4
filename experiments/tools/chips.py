"""Accelerators as published, and how long their exchanges take.

Sources: cloud.google.com/tpu/docs (pages v3 to v6e); NVIDIA's data sheets of P100, H100 and H200,
and the user guides of DGX H100 and H200; Goyal et al. 2017, section 4, for the network of its P100.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from cnn_jax.training.step_cost import Collective

HOP = 5e-6
"""Seconds until a message has arrived at another chip, an assumption."""
MESSAGE = 30 * 2**20
"""Bytes up to which exchanges are made together, XLA's default for all-reduces on GPUs."""
ROUNDS = {"all-reduce": 2, "all-gather": 1, "reduce-scatter": 1}
"""How often each byte travels: an all-reduce is a reduce-scatter and an all-gather."""


@dataclass(frozen=True)
class Chip:
    """An accelerator and its two networks.

    Attributes:
        flops: a second, at most, in the precision that is trained in.
        memory: bytes.
        fast_chips: how many chips the fast network joins: of a TPU pod, or of a machine.
        fast: its bytes a second and chip, in one direction.
        slow: bytes a second and chip, in one direction, of the network between these.
    """

    flops: float
    memory: float
    fast_chips: int
    fast: float
    slow: float


CHIPS = {
    "TPU v3": Chip(123e12, 32e9, 1024, 328e9, 3.1e9),
    "TPU v4": Chip(275e12, 32e9, 4096, 268e9, 6.2e9),
    "TPU v5e": Chip(197e12, 16e9, 256, 200e9, 3.1e9),
    "TPU v5p": Chip(459e12, 95e9, 6144, 600e9, 6.2e9),
    "TPU v6e": Chip(918e12, 32e9, 256, 400e9, 12.5e9),
    "P100": Chip(10.6e12, 16e9, 8, 40e9, 0.78e9),
    "H100": Chip(989e12, 80e9, 8, 450e9, 50e9),
    "H200": Chip(989e12, 141e9, 8, 450e9, 50e9),
}
"""In bfloat16, but for P100 in float32. The slow networks of TPU v3 and v4 are those of v5e and
v5p."""


def exchange_seconds(collectives: Iterable[Collective], chip: Chip, count: int) -> float:
    """How long the exchanges of a step take on some chips, without anything beside them.

    Rings over the fast network, and then over the slow one, where each chip of a machine has its
    part of the array: every byte travels (n - 1) / n times, and twice in an all-reduce. Small
    exchanges of a kind are made together.

    Raises:
        ValueError: an exchange of another kind.
    """
    near = min(count, chip.fast_chips)
    far = -(-count // near)
    sizes: Counter[str] = Counter()
    for one in collectives:
        sizes[one.kind] += one.bytes
    seconds = 0.0
    for kind, size in sizes.items():
        if kind not in ROUNDS:
            raise ValueError(f"no time is known for {kind}; there are {', '.join(ROUNDS)}")
        inside = (near - 1) / near * size / chip.fast
        across = (far - 1) / far * size / near / chip.slow
        hops = math.ceil(size / MESSAGE) * math.ceil(math.log2(count)) * HOP
        seconds += ROUNDS[kind] * (inside + across + hops)
    return seconds
