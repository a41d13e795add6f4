"""Batches of a streamed split: decoded ahead by Grain, the same on any number of hosts.

What a training step sees is a pure function of seed and step, so that a resumed run needs to know
the step alone and starts there at once.
"""

import atexit
import multiprocessing
import os
import threading
import weakref
from collections.abc import Generator, Iterator, Sequence
from typing import Any, TypedDict

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from cnn_jax.data.dataset import DataError, EncodedExamples, Image, StreamSplit
from cnn_jax.data.order import epoch_order
from cnn_jax.data.random_part import random_part

BATCHES_AHEAD = 2
"""Batches that each worker (or the one reading thread) keeps ready."""


class HostBatch(TypedDict):
    """This host's slice of a global batch."""

    image: UInt8[np.ndarray, "batch height width channels"]
    label: Int32[np.ndarray, "batch"]
    index: Int32[np.ndarray, "batch"]
    """The slot in the global batch, from which the step derives the example's randomness."""
    example: Int32[np.ndarray, "batch"]
    """The example's place in the split, the same in every epoch."""
    weight: Float32[np.ndarray, "batch"]
    """1, and 0 for the padding of the last batch of an evaluation."""


def stream_batches(
    split: StreamSplit,
    *,
    seed: int | None,
    start_step: int = 0,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    workers: int = 0,
) -> Iterator[HostBatch]:
    """Yields this host's slices of the global batches, from `start_step` on.

    Host p of P gets the p-th contiguous P-th of every global batch of `batch_size` examples.

    With a `seed` (training) the batches never end: every epoch visits the examples in the order
    `epoch_order(seed, epoch)` and drops the remainder of len(split) / batch_size. With seed=None
    (evaluation) all examples come once and in order; the last batch is filled up with examples
    of weight 0.

    Batches are decoded ahead, in `workers` processes or in one thread where that is 0; what is
    yielded does not depend on their number. Closing the iterator ends the processes.
    """
    if batch_size % process_count:
        raise ValueError(f"batch_size={batch_size} does not divide over {process_count} processes")
    if seed is not None and batch_size > len(split):
        raise ValueError(
            f"batch_size={batch_size} is more than the {len(split)} examples there are"
        )
    try:
        import grain
    except ImportError as error:
        raise DataError(
            "streaming a data set needs the package grain, which is not installed: pip install"
            " grain, or --data.storage device where the data set fits into memory"
        ) from error

    source = _Batches(split, seed, start_step, batch_size, process_index, process_count)
    batches = grain.MapDataset.source(source)
    if workers == 0:
        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=BATCHES_AHEAD)
        return _closed_at_exit(iter(batches.to_iter_dataset(options)))
    _mark_flags_as_parsed()
    # Within a worker more threads only compete with the other workers.
    here = batches.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
    spread = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=BATCHES_AHEAD)
    return _closed_at_exit(iter(here.mp_prefetch(spread, worker_init_fn=_end_with_parent)))


_open: "weakref.WeakSet[Generator[HostBatch, None, None]]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for batches in list(_open):
        batches.close()


def _closed_at_exit(reader: Any) -> Iterator[HostBatch]:
    # When Python exits in the middle of a stream, Grain's own clean-up comes too late to work.
    batches = _until_closed(reader)
    _open.add(batches)
    return batches


def _until_closed(reader: Any) -> Generator[HostBatch, None, None]:
    try:
        for batch in reader:
            # A copy: workers hand their arrays over in shared memory, to be given back at once.
            owned = {name: np.array(array) for name, array in batch.items()}
            del batch
            yield owned  # type: ignore[misc]
    finally:
        reader.close()


def _end_with_parent(worker: int, workers: int) -> None:
    """Lets a worker end when the training process was killed: Grain's would wait for ever."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _mark_flags_as_parsed() -> None:
    # Grain's workers read absl flags, which are an error before absl has parsed a command line.
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()


class _Batches:
    """Random access to a host's batches, as Grain's sources are: item i is step start + i."""

    def __init__(
        self,
        split: StreamSplit,
        seed: int | None,
        start_step: int,
        batch_size: int,
        process_index: int,
        process_count: int,
    ) -> None:
        self._split, self._seed, self._start_step = split, seed, start_step
        self._batch_size = batch_size
        local = batch_size // process_count
        self._slots = np.arange(process_index * local, (process_index + 1) * local, dtype=np.int32)
        self._epoch, self._order = -1, np.zeros(0, np.int32)

    def __len__(self) -> int:
        if self._seed is None:
            return max(0, -(-len(self._split) // self._batch_size) - self._start_step)
        return 2**62  # training never ends by itself

    def __getitem__(self, item: int) -> HostBatch:
        step = self._start_step + int(item)
        places, weight = self._places(step)
        chosen = self._split.indices[places[weight > 0]]
        examples = self._examples([int(index) for index in chosen], step)
        shape = examples[0][0].shape if examples else self._split[0][0].shape
        image = np.zeros((len(places), *shape), np.uint8)
        label = np.zeros(len(places), np.int32)
        for slot, (pixels, number) in enumerate(examples):
            image[slot], label[slot] = pixels, number
        return {
            "image": image,
            "label": label,
            "index": self._slots,
            "example": places.astype(np.int32),
            "weight": weight,
        }

    def _examples(self, indices: list[int], step: int) -> Sequence[tuple[Image, int | np.integer]]:
        split, examples = self._split, self._split.examples
        if self._seed is None or split.random_crop is None:
            return examples.__getitems__(indices)
        assert isinstance(examples, EncodedExamples)
        crops = [random_part(split.random_crop, (self._seed, step, int(i))) for i in self._slots]
        return examples.cropped(indices, crops)

    def _places(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions in the split of this host's examples of a global step, and their weights."""
        if self._seed is None:
            places = step * self._batch_size + self._slots
            return places, (places < len(self._split)).astype(np.float32)
        steps_per_epoch = len(self._split) // self._batch_size
        epoch, within = divmod(step, steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, epoch_order(self._seed, epoch, len(self._split))
        places = self._order[within * self._batch_size + self._slots]
        return places, np.ones(len(places), np.float32)
