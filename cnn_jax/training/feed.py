"""Feeds: they bring batches to the compiled step, from memory or from a stream.

Both give the same examples for the same step, whatever the number of devices, processes and
workers: the order is a pure function of the seed and the epoch, the place in it is the step.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int, PyTree

from cnn_jax.data import ArraySplit, HostBatch, Split, StreamSplit, epoch_order, stream_batches
from cnn_jax.errors import ConfigError
from cnn_jax.training.parallel import AXIS, Parallel
from cnn_jax.training.state import TrainState
from cnn_jax.training.step import Batch

Sums = dict[str, Any]
StepFn = Callable[[TrainState, Batch], tuple[TrainState, Sums]]
Advance = Callable[[TrainState, Sums, int], tuple[TrainState, Sums]]
EvalFn = Callable[[TrainState, Batch], Any]

STEPS_AHEAD = 8
"""Steps that Python may queue on CPU: longer queues stall collectives."""


def _wait(sums: Sums, number: int) -> None:
    """Wait for the devices, after every step where processes exchange values over gloo.

    Collectives of two steps in flight may meet each other there ("distributed collective
    mismatch").
    """
    if jax.process_count() > 1 or number % STEPS_AHEAD == 0:
        jax.block_until_ready(sums)


class TrainFeed:
    """Runs training steps: ``advance(state, sums, n)`` makes ``n`` of them.

    Args:
        split: training examples.
        train_step: the pure step.
        parallel: how it is spread over devices.
        batch_size: examples a step, over all devices.
        seed: decides the order of the examples.
        workers: processes that decode a stream.

    Raises:
        ConfigError: a batch larger than the split.
    """

    def __init__(
        self,
        split: Split,
        train_step: StepFn,
        parallel: Parallel,
        *,
        batch_size: int,
        seed: int,
        workers: int = 0,
    ) -> None:
        if batch_size > len(split):
            raise ConfigError(
                f"batch size {batch_size} is larger than the {len(split)} training examples; "
                f"take --training.batch-size {len(split)} or less"
            )
        self.steps_per_epoch = len(split) // batch_size
        self._split, self._train_step = split, train_step
        # One program over all examples, or one a device over its share.
        programs = parallel.num_devices if parallel.axis_name else 1
        self._batch_shape = (programs, batch_size // programs)
        if isinstance(split, ArraySplit):
            self._advance = _resident(split, train_step, parallel, batch_size, seed)
        else:
            self._advance = _streamed(split, train_step, parallel, batch_size, seed, workers)

    def advance(self, state: TrainState, sums: Sums, n: int) -> tuple[TrainState, Sums]:
        """Make ``n`` steps and add up their metrics; ``state`` and ``sums`` are consumed."""
        return self._advance(state, sums, n)

    def zero_sums(self, state: TrainState) -> Sums:
        """The metrics' sums of no steps at all."""
        image, label = (np.asarray(part) for part in self._split[0])
        shapes = {
            "image": (image.shape, image.dtype),
            "label": (label.shape, label.dtype),
            "index": ((), np.int32),
            "example": ((), np.int32),
            "weight": ((), np.float32),
        }
        batch = {
            name: jax.ShapeDtypeStruct(
                (*self._batch_shape, *shape), jax.dtypes.canonicalize_dtype(dtype)
            )
            for name, (shape, dtype) in shapes.items()
        }
        # A mapped axis stands in for the devices; only shapes are computed.
        mapped = jax.vmap(self._train_step, in_axes=(None, 0), axis_name=AXIS)
        sums = jax.eval_shape(mapped, state, batch)[1]
        return jax.tree.map(lambda s: np.zeros(s.shape[1:], s.dtype), sums)


def _resident(
    split: ArraySplit, train_step: StepFn, parallel: Parallel, batch_size: int, seed: int
) -> Advance:
    """Steps over examples that live on the devices and are gathered inside the step."""
    steps_per_epoch = len(split) // batch_size

    def step(
        state: TrainState, sums: Sums, data: Batch, order: Int[Array, " n"]
    ) -> tuple[TrainState, Sums]:
        slots = parallel.slots(batch_size)
        start = state.step % steps_per_epoch * batch_size
        batch = _gather(data, order[start + slots], slots, jnp.ones(slots.shape, jnp.float32))
        state, parts = train_step(state, batch)
        return state, _add(sums, parts)

    def chunk(
        state: TrainState, sums: Sums, data: Batch, order: Int[Array, " n"], n: Array
    ) -> tuple[TrainState, Sums]:
        # A dynamic trip count: one program for every n, bit-equal wherever it is cut.
        return lax.fori_loop(
            0, n, lambda _, carry: step(carry[0], carry[1], data, order), (state, sums)
        )

    data = _place(split, parallel)
    run = parallel.compile(chunk if parallel.compiled_chunks else step, donate=(0, 1))

    @functools.lru_cache(maxsize=1)
    def order_of(epoch: int) -> Int[Array, " n"]:
        return parallel.replicate(epoch_order(seed, epoch, len(split)))

    def advance(state: TrainState, sums: Sums, n: int) -> tuple[TrainState, Sums]:
        now = int(state.step)
        end = now + n
        while now < end:
            order = order_of(now // steps_per_epoch)
            here = min(end - now, steps_per_epoch - now % steps_per_epoch)
            if parallel.compiled_chunks:
                state, sums = run(state, sums, data, order, np.int32(here))
            else:
                for i in range(here):
                    state, sums = run(state, sums, data, order)
                    _wait(sums, i)
            now += here
        return state, sums

    return advance


def _streamed(
    split: StreamSplit,
    train_step: StepFn,
    parallel: Parallel,
    batch_size: int,
    seed: int,
    workers: int,
) -> Advance:
    """Steps over examples that are decoded as they are needed."""

    def step(state: TrainState, sums: Sums, batch: Batch) -> tuple[TrainState, Sums]:
        state, parts = train_step(state, batch)
        return state, _add(sums, parts)

    run = parallel.compile(step, donate=(0, 1), batch=2)

    batches: Iterator[HostBatch] | None = None

    def advance(state: TrainState, sums: Sums, n: int) -> tuple[TrainState, Sums]:
        # The stream starts where the first call does, and every call goes on with it.
        nonlocal batches
        batches = batches or stream_batches(
            split,
            seed=seed,
            start_step=int(state.step),
            batch_size=batch_size,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            workers=workers,
        )
        for i in range(n):
            state, sums = run(state, sums, parallel.place_batch(next(batches)))
            _wait(sums, i)
        return state, sums

    return advance


class EvalFeed:
    """Runs a function over every example of a split once, in order.

    The last batch is padded with examples of weight 0, so results are exact for any number of
    examples, batch size and number of devices.

    Args:
        split: the examples.
        parallel: how a batch is spread over devices.
        batch_size: examples a batch; rounded up to a multiple of the devices.
    """

    def __init__(self, split: Split, parallel: Parallel, *, batch_size: int) -> None:
        devices = parallel.num_devices
        self._batch_size = -(-min(batch_size, len(split)) // devices) * devices
        self._split, self._parallel = split, parallel
        self._data = _place(split, parallel) if isinstance(split, ArraySplit) else {}

    def __len__(self) -> int:
        return len(self._split)

    def compile(self, function: EvalFn) -> Callable[[TrainState], Iterator[Any]]:
        """``function(state, batch)`` compiled, as an iterator over the split's batches."""
        split, batch_size, parallel = self._split, self._batch_size, self._parallel
        if isinstance(split, StreamSplit):
            run = parallel.compile(function, batch=1)
            return lambda state: (run(state, batch) for batch in self._streamed(split))

        def resident(state: TrainState, data: Batch, number: Int[Array, ""]) -> Any:
            slots = parallel.slots(batch_size)
            places = number * batch_size + slots
            weight = (places < len(split)).astype(jnp.float32)
            return function(
                state, _gather(data, jnp.minimum(places, len(split) - 1), slots, weight)
            )

        run = parallel.compile(resident)
        numbers = range(-(-len(split) // batch_size))
        return lambda state: (run(state, self._data, np.int32(i)) for i in numbers)

    def _streamed(self, split: StreamSplit) -> Iterator[Batch]:
        batches = stream_batches(
            split,
            seed=None,
            batch_size=self._batch_size,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        return (self._parallel.place_batch(batch) for batch in batches)

    def total(self, function: EvalFn) -> Callable[[TrainState], Any]:
        """The sum over all batches of ``function(state, batch)``, as host arrays."""
        run = self.compile(function)

        def evaluate(state: TrainState) -> Any:
            totals = None
            for parts in run(state):
                # Summed in float64: 50,000 losses in float32 would lose digits.
                parts = jax.tree.map(lambda a: np.asarray(a, np.float64), parts)
                totals = parts if totals is None else jax.tree.map(np.add, totals, parts)
            return totals

        return evaluate


def _add(totals: PyTree, parts: PyTree) -> PyTree:
    return jax.tree.map(jnp.add, totals, parts)


def _place(split: ArraySplit, parallel: Parallel) -> Batch:
    return parallel.replicate({"image": split.images, "label": split.labels})


def _gather(data: Batch, places: Array, slots: Array, weight: Array) -> Batch:
    batch = {name: array[places] for name, array in data.items()}
    numbers = {"index": slots.astype(jnp.int32), "example": places.astype(jnp.int32)}
    return batch | numbers | {"weight": weight}
