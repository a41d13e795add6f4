"""Batches of a streamed split: decoded ahead by Grain, the same on any number of hosts.

The examples of a training step are a pure function of seed and step. A resumed run therefore needs
to know the step only, and starts there at once.
"""

import atexit
import gc
import multiprocessing.util
import os
import re
import signal
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Int32

from cnn_jax.data.errors import SKIP_HINT, DataError, UnreadableImage, UnreadableWarning
from cnn_jax.data.examples import EncodedExamples, HostExample
from cnn_jax.data.random_part import random_part
from cnn_jax.data.splits import StreamSplit
from cnn_jax.extras import extra

BATCHES_AHEAD = 2
"""Batches that each worker (or the reading thread) keeps ready."""

CLOSING_SECONDS = 2.0
"""How long the end of a stream waits for its reader."""
STOP_SIGNALS = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU),
)
"""Signals that a terminal or a scheduler sends before it kills. They may reach all processes of a
group; the training process reacts to them, and workers do not."""
_WAITS = (0.5, 2.0)
"""Seconds between the tries of a read that fails."""
_LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)

HostBatch = dict[str, np.ndarray]
"""This host's slice of a global batch: the entries of an example with a leading batch axis, and

- "slot": int32 [batch], the row in the global batch, from which the step derives the example's
  randomness;
- "place": int32 [batch], the example's place in the split, the same in every epoch; -1 for padding;
- "weight": float32 [batch], 1, or 0 for the padding of the last batch of an evaluation.
"""


def stream_batches(
    split: StreamSplit,
    *,
    seed: int | None,
    start_step: int = 0,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[HostBatch]:
    """Yields this host's slices of the global batches, from `start_step` on.

    Every global batch of `batch_size` examples is divided into `process_count` contiguous parts,
    one per host. With a `seed` (training) the batches never end and follow `split.order`. With
    seed=None (evaluation) they follow `split.evaluation_order`: every example once, with padding
    of weight 0.

    Batches are decoded ahead, in `split.workers` processes, or in one thread if that is 0. The
    number of workers does not change the batches. Closing the iterator ends the processes. They
    leave signals such as Ctrl-C to the process that reads.

    What cannot be read because of an OSError, which may pass, is tried three times. Of a split
    with `skip_unreadable`, an example that cannot be read has the weight 0 and the content of
    another one of its batch.

    Raises:
        ValueError: `batch_size` is not divisible by `process_count`, or is larger than the split
            in training.
        MissingExtra: the package grain is not installed.
        DataError: from the iterator: an example cannot be read, or a worker process has ended.
    """
    if batch_size % process_count:
        raise ValueError(f"batch_size={batch_size} is not divisible by {process_count} processes")
    if seed is not None and batch_size > len(split):
        raise ValueError(
            f"batch_size={batch_size} is larger than the split of {len(split)} examples"
        )
    with extra("data", "streaming (all of --data.storage but device)"):
        import grain

    source = _Batches(split, seed, start_step, batch_size, process_index, process_count)
    batches = grain.MapDataset.source(source)
    if split.workers == 0:
        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=BATCHES_AHEAD)
        return _closed_at_exit(iter(batches.to_iter_dataset(options)), 0)
    _mark_flags_as_parsed()
    # More threads in a worker would only compete with the other workers.
    here = batches.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
    spread = grain.MultiprocessingOptions(
        num_workers=split.workers, per_worker_buffer_size=BATCHES_AHEAD
    )
    reader = iter(here.mp_prefetch(spread, worker_init_fn=_begin_worker))
    return _closed_at_exit(reader, split.workers)


_open: "weakref.WeakSet[Generator[HostBatch, None, None]]" = weakref.WeakSet()
_closing: list[threading.Thread] = []
"""What closes streams whose workers are still at their last batch."""


# What is registered last runs first: before the exit function of multiprocessing.util, which ends
# the thread that returns shared memory.
@atexit.register
def _close_all() -> None:
    for batches in list(_open):
        batches.close()
    for thread in _closing:
        # At Python's exit Grain closes what is still open, and two at once get in each other's way.
        thread.join()  # Grain kills a worker that does not end within 25 seconds
    if "grain" in sys.modules:
        # The frames of Grain's exceptions, also of StopIteration, keep each other alive, and with
        # them a batch, whose shared memory Python would find leaked.
        gc.collect()
        from grain.multiprocessing import SharedMemoryArray

        # One thread returns the memory of what is deleted: this waits for its turn there.
        if (returning := getattr(SharedMemoryArray, "_del_thread_pool", None)) is not None:
            returning.apply(int)


def _closed_at_exit(reader: Any, workers: int) -> Iterator[HostBatch]:
    # When Python exits in the middle of a stream, Grain's own clean-up runs too late.
    batches = _until_closed(reader, workers)
    _open.add(batches)
    return batches


def _until_closed(reader: Any, workers: int) -> Generator[HostBatch, None, None]:
    try:
        for batch in reader:
            # A copy: the arrays of workers are in shared memory, which must be returned at once.
            owned = {name: np.array(array) for name, array in batch.items()}
            del batch
            yield owned
    except DataError as error:
        # Grain's note is about frames of a traceback, which a user does not see.
        vars(error).pop("__notes__", None)
        raise
    except RuntimeError as error:
        if "Worker process was terminated" not in str(error):
            raise
        code = re.search(r"exit code (-?\d+)", str(error))
        raise DataError(
            f"a process that decodes images has ended (exit status {code[1] if code else '?'}; -9: "
            "killed, which the system does when memory runs out); fewer --data.workers need less"
        ) from None
    finally:
        # A reader whose read is stalled cannot be closed, and must not hold up the run's end.
        closing = threading.Thread(target=reader.close, daemon=True)
        closing.start()
        closing.join(CLOSING_SECONDS)
        if workers and closing.is_alive():
            _closing.append(closing)


def _begin_worker(worker: int, workers: int) -> None:
    """Lets a worker live as long as the training process, whatever a terminal sends to both."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)

    def watch() -> None:
        # When the training process has been killed. Grain's workers would wait forever.
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _mark_flags_as_parsed() -> None:
    # Grain's workers read absl flags, which raises an error before absl parses a command line.
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
        self._epoch = 0
        self._order = self._order_of(0)

    def __len__(self) -> int:
        if self._seed is None:
            return max(0, len(self._order) // self._batch_size - self._start_step)
        return 2**62  # training never ends by itself

    def __getitem__(self, item: int) -> HostBatch:
        step = self._start_step + int(item)
        places = self._places(step)
        rows = np.flatnonzero(places >= 0)
        examples, read = self._read(self._split.indices[places[rows]], step)
        arrays = {
            name: np.zeros((len(places), *entry.shape), entry.dtype)
            for name, entry in self._split.spec.items()
        }
        for row, example in zip(rows, examples, strict=True):
            for name, array in arrays.items():
                array[row] = example[name]
        weight = (places >= 0).astype(np.float32)
        weight[rows] *= read
        return arrays | {"slot": self._slots, "place": places, "weight": weight}

    def _read(
        self, indices: Int[np.ndarray, "chosen"], step: int
    ) -> tuple[list[HostExample], Bool[np.ndarray, "chosen"]]:
        """The examples, and whether each could be read."""
        everywhere = np.arange(len(indices))
        try:
            examples = _tried(partial(self._examples, indices, everywhere, step))
            return examples, np.ones(len(indices), bool)
        except UnreadableImage as error:
            if not self._split.skip_unreadable:
                raise UnreadableImage(f"{error}\n{SKIP_HINT}") from None
        found: list[HostExample | None] = []
        for i in everywhere:  # one by one, to find out which
            try:
                one = partial(self._examples, indices[[i]], everywhere[[i]], step)
                found += _tried(one)
            except UnreadableImage as error:
                warnings.warn(f"{error}; it is left out", UnreadableWarning, stacklevel=2)
                found.append(None)
        whole = [one for one in found if one is not None]
        if not whole:
            raise DataError("no image of a whole batch can be read; the warnings name them")
        # Not zeros, which would change the statistics of BatchNorm.
        return [one or whole[0] for one in found], np.array([one is not None for one in found])

    def _examples(
        self, indices: Int[np.ndarray, "some"], rows: Int[np.ndarray, "some"], step: int
    ) -> list[HostExample]:
        """Stored examples; `rows` are their places in this host's slice."""
        split, examples = self._split, self._split.examples
        positions = [int(index) for index in indices]
        if self._seed is None or split.random_crop is None:
            return examples.__getitems__(positions)
        assert isinstance(examples, EncodedExamples)
        slots = self._slots[rows]
        crops = [random_part(split.random_crop, (self._seed, step, int(i))) for i in slots]
        return examples.cropped(positions, crops)

    def _places(self, step: int) -> Int32[np.ndarray, "local"]:
        """Places in the split of this host's examples of a global step."""
        steps = len(self._order) // self._batch_size
        epoch, within = divmod(step, steps) if self._seed is not None else (0, step)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._order_of(epoch)
        return self._order[within * self._batch_size + self._slots]

    def _order_of(self, epoch: int) -> Int32[np.ndarray, "places"]:
        if self._seed is None:
            return self._split.evaluation_order(self._batch_size)
        return self._split.order(self._seed, epoch, self._batch_size)


def _tried(read: Callable[[], list[HostExample]]) -> list[HostExample]:
    """Reads, again where an error may pass, as of a network's file system."""
    for wait in _WAITS:
        try:
            return read()
        except (OSError, UnreadableImage) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            if not isinstance(cause, OSError) or isinstance(cause, _LASTING):
                raise
            time.sleep(wait)
    return read()
