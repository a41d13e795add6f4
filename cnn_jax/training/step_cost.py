"""What a training step needs on many devices, from its program as compiled for them.

Nothing is placed on the devices, so that the program for a thousand of them can be compiled on one
machine. A CPU's compiler gives nearly an accelerator's collectives, but other temporary arrays.
"""

import math
import re
from dataclasses import dataclass

import jax
import numpy as np

from cnn_jax.training.runner import Runner

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_COLLECTIVE = re.compile(rf"= (\S.*?) ({'|'.join(KINDS)})(-start)?\(")
_ARRAY = re.compile(r"\b(pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")


@dataclass(frozen=True)
class Collective:
    """An operation in which all devices exchange an array."""

    kind: str
    """As XLA names it, such as "all-reduce"."""
    bytes: int
    """Of the whole array: what is summed, gathered or scattered."""


@dataclass(frozen=True)
class StepCost:
    """What one training step needs, by device.

    Attributes:
        devices: their number.
        state_bytes: parameters, statistics, optimizer state and the like.
        data_bytes: the batch, or the examples and their order that live on the device.
        temporary_bytes: gradients, activations and all else that lives during the step.
        flops: floating-point operations.
        collectives: all exchanges with other devices.
    """

    devices: int
    state_bytes: int
    data_bytes: int
    temporary_bytes: int
    flops: float
    collectives: tuple[Collective, ...]

    @property
    def memory(self) -> int:
        """Bytes of memory; a step writes the next state in place of the last."""
        return self.state_bytes + self.data_bytes + self.temporary_bytes

    def bytes_of(self, kind: str) -> int:
        """Bytes of all collectives of a kind."""
        return sum(one.bytes for one in self.collectives if one.kind == kind)


def step_cost(runner: Runner) -> StepCost:
    """Compile a training step for the devices of a runner, and count what it needs.

    A device's operations are those of the whole step, as JAX writes them, divided by the number of
    devices. Those of a loop, such as that over a sequence, are counted once.

    Raises:
        ConfigError: with ``--parallel pmap``, whose program is not known before it runs.
    """
    traced, state = runner.traced()
    compiled = traced.lower().compile()
    analysis = compiled.memory_analysis()
    state_bytes = sum(_bytes_of_a_device(leaf) for leaf in jax.tree.leaves(state))
    devices = runner.parallel.num_devices
    return StepCost(
        devices=devices,
        state_bytes=state_bytes,
        data_bytes=max(0, analysis.argument_size_in_bytes - state_bytes),
        temporary_bytes=analysis.temp_size_in_bytes,
        # As for an accelerator: a CPU's own convolutions are no operations that XLA can count.
        flops=traced.lower(lowering_platforms=("cuda",)).cost_analysis()["flops"] / devices,
        collectives=collectives(compiled.as_text(), devices),
    )


def collectives(program: str, devices: int) -> tuple[Collective, ...]:
    """The collectives of a compiled program, in its order; those of a loop are counted once.

    Args:
        program: as XLA prints it.
        devices: number of devices that take part in each.
    """
    found = []
    for result, kind, start in _COLLECTIVE.findall(program):
        sizes = [_bytes(*array) for array in _ARRAY.findall(result)]
        if start and kind != "all-reduce":
            sizes = sizes[len(sizes) // 2 :]  # a start also returns what it was given
        factor = devices if kind == "reduce-scatter" else 1
        found.append(Collective(kind, factor * sum(sizes)))
    return tuple(found)


def _bytes(name: str, bits: str, shape: str) -> int:
    count = math.prod(int(size) for size in shape.split(",") if size)
    return count * (1 if name == "pred" else -(-int(bits) // 8))


def _bytes_of_a_device(leaf: jax.ShapeDtypeStruct) -> int:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.eval_shape(jax.random.key_data, leaf)
        return math.prod(leaf.shape) * leaf.dtype.itemsize
    return math.prod(leaf.sharding.shard_shape(leaf.shape)) * np.dtype(leaf.dtype).itemsize
