"""Feeds: they bring batches to the compiled step, from memory or from a stream.

Both give the same examples for the same step, whatever the number of devices, processes and
workers: the order is a pure function of the seed and the epoch, the place in it is the step.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int, PyTree

from cnn_jax.data import ArraySplit, Split, StreamSplit, epoch_order, stream_batches
from cnn_jax.errors import ConfigError
from cnn_jax.training.parallel import AXIS, Parallel
from cnn_jax.training.state import TrainState
from cnn_jax.training.step import Batch

Sums = dict[str, Array]
StepFn = Callable[[TrainState, Batch], tuple[TrainState, Sums]]
EvalFn = Callable[[TrainState, Batch], Any]

BLOCK_EVERY = 8
"""Steps after which Python waits for the devices: longer queues stall collectives on CPU."""


def _add(totals: PyTree, parts: PyTree) -> PyTree:
    return jax.tree.map(jnp.add, totals, parts)


class TrainFeed:
    """Runs training steps: ``advance(state, sums, n)`` makes ``n`` of them.

    Args:
        split: training examples.
        train_step: the pure step.
        parallel: how it is spread over devices.
        batch_size: examples a step, over all devices.
        seed: decides the order of the examples.
        workers: processes that decode a stream.
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
                f"take --batch-size {len(split)} or less"
            )
        self.steps_per_epoch = len(split) // batch_size
        self._split, self._seed, self._workers = split, seed, workers
        self._batch_size, self._parallel, self._train_step = batch_size, parallel, train_step
        self._epoch, self._order = -1, None
        self._stream: Iterator[Batch] | None = None
        self._stream_step = -1

        if isinstance(split, StreamSplit):

            def streamed(state: TrainState, sums: Sums, batch: Batch) -> tuple[TrainState, Sums]:
                state, parts = train_step(state, batch)
                return state, _add(sums, parts)

            self._step = parallel.compile(streamed, donate=(0, 1), batch=2)
            return

        def resident(
            state: TrainState, sums: Sums, data: Batch, order: Int[Array, " n"]
        ) -> tuple[TrainState, Sums]:
            slots = parallel.slots(batch_size)
            start = state.step % self.steps_per_epoch * batch_size
            batch = _gather(data, order[start + slots], slots, jnp.ones(slots.shape))
            state, parts = train_step(state, batch)
            return state, _add(sums, parts)

        def chunk(
            state: TrainState, sums: Sums, data: Batch, order: Int[Array, " n"], n: Array
        ) -> tuple[TrainState, Sums]:
            # A dynamic trip count: one program for every n, bit-equal wherever it is cut.
            return lax.fori_loop(0, n, lambda _, c: resident(*c, data, order), (state, sums))

        self._data = _place(split, parallel)
        self._step = parallel.compile(
            chunk if parallel.compiled_chunks else resident, donate=(0, 1)
        )

    def zero_sums(self, state: TrainState) -> Sums:
        """Sums of no steps at all."""
        local = self._batch_size // self._parallel.num_devices
        split = self._split
        image = split[0][0] if isinstance(split, StreamSplit) else split.images[0]
        batch = {
            "image": np.zeros((local, *image.shape), np.uint8),
            "label": np.zeros(local, np.int32),
            "index": np.zeros(local, np.int32),
            "weight": np.zeros(local, np.float32),
        }
        # A mapped axis of size one stands in for the devices; only shapes are computed.
        mapped = jax.vmap(self._train_step, in_axes=(None, 0), axis_name=AXIS)
        shapes = jax.eval_shape(mapped, state, jax.tree.map(lambda a: a[None], batch))[1]
        return jax.tree.map(lambda s: np.zeros(s.shape[1:], s.dtype), shapes)

    def advance(self, state: TrainState, sums: Sums, n: int) -> tuple[TrainState, Sums]:
        """Make ``n`` steps; ``state`` and ``sums`` are consumed."""
        step = int(state.step)
        if isinstance(self._split, StreamSplit):
            return self._advance_stream(state, sums, step, n)
        while n:
            order = self._epoch_order(step // self.steps_per_epoch)
            here = min(n, self.steps_per_epoch - step % self.steps_per_epoch)
            if self._parallel.compiled_chunks:
                state, sums = self._step(state, sums, self._data, order, here)
            else:
                for i in range(here):
                    state, sums = self._step(state, sums, self._data, order)
                    if i % BLOCK_EVERY == 0:
                        jax.block_until_ready(sums)
            step, n = step + here, n - here
        return state, sums

    def _advance_stream(
        self, state: TrainState, sums: Sums, step: int, n: int
    ) -> tuple[TrainState, Sums]:
        assert isinstance(self._split, StreamSplit)
        if self._stream is None or self._stream_step != step:
            self._stream = stream_batches(
                self._split,
                seed=self._seed,
                start_step=step,
                batch_size=self._batch_size,
                process_index=jax.process_index(),
                process_count=jax.process_count(),
                workers=self._workers,
            )
        for i in range(n):
            batch = self._parallel.place_batch(next(self._stream))
            state, sums = self._step(state, sums, batch)
            if i % BLOCK_EVERY == 0:
                jax.block_until_ready(sums)
        self._stream_step = step + n
        return state, sums

    def _epoch_order(self, epoch: int) -> Int[Array, " n"]:
        if epoch != self._epoch or self._order is None:
            order = epoch_order(self._seed, epoch, len(self._split))
            self._order, self._epoch = self._parallel.replicate(order), epoch
        return self._order


class EvalFeed:
    """Runs a function over every example of a split once, in order.

    The last batch is padded with examples of weight 0, so results are exact for any number of
    examples, batch size and number of devices.
    """

    def __init__(self, split: Split, parallel: Parallel, *, batch_size: int) -> None:
        # No larger than the split, but divisible over the devices.
        needed = -(-len(split) // parallel.num_devices) * parallel.num_devices
        self._batch_size = min(batch_size, needed)
        self._split, self._parallel = split, parallel
        self._num_batches = -(-len(split) // self._batch_size)
        if isinstance(split, ArraySplit):
            self._data = _place(split, parallel)

    def __len__(self) -> int:
        return len(self._split)

    def compile(self, function: EvalFn) -> Callable[[TrainState], Iterator[Any]]:
        """``function(state, batch)`` compiled, as an iterator over the split's batches."""
        if isinstance(self._split, StreamSplit):
            step = self._parallel.compile(function, batch=1)
            return lambda state: (step(state, batch) for batch in self._streamed())

        def resident(state: TrainState, data: Batch, number: Int[Array, ""]) -> Any:
            slots = self._parallel.slots(self._batch_size)
            places = number * self._batch_size + slots
            weight = (places < len(self._split)).astype(jnp.float32)
            places = jnp.minimum(places, len(self._split) - 1)
            return function(state, _gather(data, places, slots, weight))

        step = self._parallel.compile(resident)
        return lambda state: (
            step(state, self._data, np.int32(i)) for i in range(self._num_batches)
        )

    def _streamed(self) -> Iterator[Batch]:
        batches = stream_batches(
            self._split,
            seed=None,
            start_step=0,
            batch_size=self._batch_size,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            workers=0,
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


def _place(split: ArraySplit, parallel: Parallel) -> Batch:
    return parallel.replicate({"image": split.images, "label": split.labels})


def _gather(data: Batch, places: Array, slots: Array, weight: Array) -> Batch:
    batch = {name: array[places] for name, array in data.items()}
    return batch | {"index": slots.astype(jnp.int32), "weight": weight}
