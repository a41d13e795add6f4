"""Feeds bring batches to compiled functions, from memory or from a stream.

Both give the same examples for the same step, whatever the number of devices, processes and
workers: the order is a pure function of the seed and the epoch, and the place in it is the step.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int, PyTree

from cnn_jax.data import ArraySplit, Split, StreamSplit, WindowSplit, stream_batches
from cnn_jax.errors import ConfigError
from cnn_jax.training.mapped import gather_over_devices, sum_over_devices
from cnn_jax.training.parallel import Parallel
from cnn_jax.training.program import Batch, Sums
from cnn_jax.training.signals import Interrupted, reacting
from cnn_jax.training.state import TrainState

ResidentSplit = ArraySplit | WindowSplit
StepFn = Callable[[TrainState, Batch], tuple[TrainState, Sums]]
Advance = Callable[[TrainState, Sums, int], tuple[TrainState, Sums]]
EvaluateFn = Callable[[TrainState, Batch, PyTree], Any]

STEPS_AHEAD = 8
"""Steps that Python may queue on CPU; longer queues stall collectives."""


class TrainFeed:
    """Runs training steps: ``advance(state, sums, n)`` makes ``n`` of them.

    Args:
        split: training examples.
        train_step: the pure step.
        parallel: how it is spread over devices.
        batch_size: examples a step, over all devices.
        seed: decides the order of the examples.

    Raises:
        ConfigError: a batch larger than the split.
    """

    def __init__(
        self, split: Split, train_step: StepFn, parallel: Parallel, *, batch_size: int, seed: int
    ) -> None:
        if batch_size > len(split):
            raise ConfigError(
                f"batch size {batch_size} is larger than the {len(split)} training examples; "
                f"take --training.batch-size {len(split)} or less"
            )
        self._split, self._train_step, self._batch_size = split, train_step, batch_size
        self._parallel = parallel
        if isinstance(split, StreamSplit):
            self._run, self._advance = _streamed_steps(
                split, train_step, parallel, batch_size, seed
            )
        else:
            self._run, self._advance = _resident_steps(
                split, train_step, parallel, batch_size, seed
            )

    def advance(self, state: TrainState, sums: Sums, n: int) -> tuple[TrainState, Sums]:
        """Make ``n`` steps and add up their sums; ``state`` and ``sums`` are consumed."""
        return self._advance(state, sums, n)

    def zero_sums(self, state: TrainState) -> Sums:
        """The sums of no steps at all, on the host."""
        sums = jax.eval_shape(self._train_step, state, self._batch())[1]
        return jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), sums)

    def trace(self, state: TrainState) -> Any:
        """The program of a step (or of a chunk of them) before it is compiled.

        Args:
            state: shapes, as `Parallel.abstract` gives them.
        """
        parallel, split = self._parallel, self._split
        sums = parallel.abstract(self.zero_sums(state))
        if isinstance(split, StreamSplit):
            # A batch is divided as carried state is.
            batch = parallel.abstract({"carry": self._batch()})["carry"]
            return self._run.trace(state, sums, batch)
        order = jax.ShapeDtypeStruct((len(split),), np.int32)
        arrays, order = parallel.abstract((dict(split.arrays), order))
        number = (jax.ShapeDtypeStruct((), np.int32),) if parallel.compiled_chunks else ()
        return self._run.trace(state, sums, arrays, order, *number)

    def _batch(self) -> dict[str, jax.ShapeDtypeStruct]:
        """The shapes of a batch."""
        beside = {"slot": np.int32, "place": np.int32, "weight": np.float32}
        entries = {name: ((), dtype) for name, dtype in beside.items()}
        entries |= {name: (one.shape, one.dtype) for name, one in self._split.spec.items()}
        return {
            name: jax.ShapeDtypeStruct((self._batch_size, *shape), dtype)
            for name, (shape, dtype) in entries.items()
        }


def _resident_steps(
    split: ResidentSplit, train_step: StepFn, parallel: Parallel, batch_size: int, seed: int
) -> tuple[Any, Advance]:
    """Steps over examples that live on the devices and are taken inside of the step.

    Returns:
        The compiled function, and what makes steps with it.
    """
    steps_per_epoch = split.steps_per_epoch(batch_size)

    def step(
        state: TrainState, sums: Sums, arrays: Batch, order: Int[Array, " n"]
    ) -> tuple[TrainState, Sums]:
        slots = parallel.slots(batch_size)
        start = state.step % steps_per_epoch * batch_size
        batch = _batch(split, arrays, order[start + slots], slots)
        state, parts = train_step(parallel.whole(state, "params"), batch)
        return parallel.laid(state), jax.tree.map(jnp.add, sums, parts)

    def chunk(
        state: TrainState, sums: Sums, arrays: Batch, order: Int[Array, " n"], n: Array
    ) -> tuple[TrainState, Sums]:
        # A dynamic trip count: one program for every n, bit-equal wherever it is cut.
        return lax.fori_loop(
            0, n, lambda _, carry: step(carry[0], carry[1], arrays, order), (state, sums)
        )

    @functools.cache
    def arrays() -> Batch:
        return parallel.place(dict(split.arrays))

    run = parallel.compile(chunk if parallel.compiled_chunks else step, donate=(0, 1))

    @functools.lru_cache(maxsize=1)
    def order_of(epoch: int) -> Int[Array, " n"]:
        return parallel.place(split.order(seed, epoch, batch_size))

    def advance(state: TrainState, sums: Sums, n: int) -> tuple[TrainState, Sums]:
        now = int(state.step)
        end = now + n
        while now < end:
            order = order_of(now // steps_per_epoch)
            here = min(end - now, steps_per_epoch - now % steps_per_epoch)
            if parallel.compiled_chunks:
                state, sums = run(state, sums, arrays(), order, np.int32(here))
            else:
                for i in range(here):
                    state, sums = run(state, sums, arrays(), order)
                    _wait(sums, i)
            now += here
        return state, sums

    return run, advance


def _streamed_steps(
    split: StreamSplit, train_step: StepFn, parallel: Parallel, batch_size: int, seed: int
) -> tuple[Any, Advance]:
    """Steps over examples that are decoded as they are needed.

    Returns:
        The compiled function, and what makes steps with it.
    """

    def step(state: TrainState, sums: Sums, batch: Batch) -> tuple[TrainState, Sums]:
        state, parts = train_step(parallel.whole(state, "params"), batch)
        return state, jax.tree.map(jnp.add, sums, parts)

    run = parallel.compile(step, donate=(0, 1), batch=2)
    batches: Iterator[Any] | None = None
    failure: BaseException | None = None

    def advance(state: TrainState, sums: Sums, n: int) -> tuple[TrainState, Sums]:
        # The stream starts where the first call does, and every call goes on with it.
        nonlocal batches, failure
        if failure:
            raise failure
        batches = batches or stream_batches(
            split,
            seed=seed,
            start_step=int(state.step),
            batch_size=batch_size,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        for i in range(n):
            try:
                with reacting("raise"):
                    batch = next(batches)
            except (Exception, Interrupted) as error:
                # The steps before it are handed back, so that they are not lost.
                failure = error
                if i == 0 or jax.process_count() > 1:
                    raise
                break
            state, sums = run(state, sums, parallel.place_batch(batch))
            _wait(sums, i)
        return state, sums

    return run, advance


class EvalFeed:
    """Runs a function over every example of a split once.

    The last batch is padded with examples of weight 0, so results are exact for any number of
    examples, batch size and number of devices.

    Args:
        split: the examples.
        parallel: how a batch is spread over devices.
        batch_size: examples a batch; rounded up to a multiple of the devices.
    """

    def __init__(self, split: Split, parallel: Parallel, *, batch_size: int) -> None:
        devices = parallel.num_devices
        self.batch_size = -(-min(batch_size, len(split)) // devices) * devices
        self._split, self._parallel = split, parallel
        self._order = split.evaluation_order(self.batch_size)
        self._places = parallel.place(self._order)
        self._arrays = {} if isinstance(split, StreamSplit) else parallel.place(dict(split.arrays))

    def compile(self, function: EvaluateFn) -> Callable[[TrainState, PyTree], tuple[Sums, PyTree]]:
        """``function`` over the whole split: its sums in float64 and its rows in order.

        The compiled function takes the state and the carry before the first batch.
        """

        def spread(state: TrainState, batch: Batch, carry: PyTree) -> dict[str, Any]:
            sums, rows, carry = function(self._parallel.whole(state), batch, carry)
            return {
                "sums": sum_over_devices(sums),
                "rows": gather_over_devices(rows),
                "carry": carry,
            }

        run = self._compile(spread)

        def evaluate(state: TrainState, carry: PyTree) -> tuple[Sums, PyTree]:
            totals: Sums | None = None
            parts = []
            for result in run(state, carry):
                # Summed in float64: 50,000 losses in float32 would lose digits.
                sums = jax.tree.map(lambda a: np.asarray(a, np.float64), result["sums"])
                totals = sums if totals is None else jax.tree.map(np.add, totals, sums)
                parts.append(jax.tree.map(np.asarray, result["rows"]))
            return totals or {}, jax.tree.map(lambda *arrays: self._in_order(arrays), *parts)

        return evaluate

    def _compile(self, function: EvaluateFn) -> Callable[[TrainState, PyTree], Iterator[Any]]:
        """The results of all batches, each with the carry of the one before."""
        split, size, parallel = self._split, self.batch_size, self._parallel
        if isinstance(split, StreamSplit):
            streamed = parallel.compile(function, batch=1)

            def over_stream(state: TrainState, carry: PyTree) -> Iterator[Any]:
                batches = stream_batches(
                    split,
                    seed=None,
                    batch_size=size,
                    process_index=jax.process_index(),
                    process_count=jax.process_count(),
                )
                return (streamed(state, parallel.place_batch(one), carry) for one in batches)

            return over_stream

        def taken(
            state: TrainState, carry: PyTree, arrays: Batch, order: Array, number: Array
        ) -> Any:
            slots = parallel.slots(size)
            batch = _batch(split, arrays, order[number * size + slots], slots)
            return function(state, batch, carry)

        resident = parallel.compile(taken)

        def over_arrays(state: TrainState, carry: PyTree) -> Iterator[Any]:
            for number in range(len(self._order) // size):
                result = resident(state, carry, self._arrays, self._places, np.int32(number))
                carry = result["carry"]
                yield result

        return over_arrays

    def _in_order(self, parts: tuple[np.ndarray, ...]) -> np.ndarray:
        """The rows of all batches in the order of the split, without those of padding."""
        rows = np.concatenate(parts)
        result = np.empty((len(self._split), *rows.shape[1:]), rows.dtype)
        result[self._order[self._order >= 0]] = rows[self._order >= 0]
        return result


def _batch(split: ResidentSplit, arrays: Batch, places: Array, slots: Array) -> Batch:
    """The examples at some places; those at -1 are padding."""
    weight = (places >= 0).astype(jnp.float32)
    places = jnp.maximum(places, 0).astype(jnp.int32)
    beside = {"slot": slots.astype(jnp.int32), "place": places, "weight": weight}
    return {**split.take(arrays, places), **beside}


def _wait(sums: Sums, number: int) -> None:
    """Wait for the devices, after every step where processes exchange values over gloo.

    Collectives of two steps in flight may meet each other there ("distributed collective
    mismatch").
    """
    if jax.process_count() > 1 or number % STEPS_AHEAD == 0:
        jax.block_until_ready(sums)
