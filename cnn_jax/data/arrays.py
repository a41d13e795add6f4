"""Decodes a whole small split once into arrays."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Int

from cnn_jax.data.errors import DataError, SourceError, UnreadableImage, some_of
from cnn_jax.data.examples import Examples
from cnn_jax.data.splits import ArraySplit

CHUNK = 256


def decode_all(examples: Examples, indices: Int[np.ndarray, "chosen"]) -> ArraySplit:
    """Decodes the examples at `indices`, in that order.

    Raises:
        SourceError: the data set is broken.
        UnreadableImage: image files cannot be read, and perhaps other examples.
        DataError: examples cannot be used. One error lists all of them, up to `LISTED`.
    """
    positions = [int(index) for index in indices]
    arrays = {
        name: np.empty((len(positions), *entry.shape), entry.dtype)
        for name, entry in examples.spec.items()
    }

    def fill(start: int) -> list[DataError]:
        chunk = positions[start : start + CHUNK]
        try:
            decoded = examples.__getitems__(chunk)
        except SourceError:
            raise
        except DataError:
            return _errors(examples, chunk)
        for place, example in enumerate(decoded, start):
            for name, array in arrays.items():
                array[place] = example[name]
        return []

    # Decoding releases Python's lock. Below a few thousand pixels, however, the surrounding calls
    # cost more than the decoding, and threads slow each other down (measured: 32x32 WebP takes
    # half as long again with two threads).
    largest = max(entry.size for entry in examples.spec.values())
    threads = 1 if largest < 64 * 64 * 3 else os.cpu_count() or 1
    starts = range(0, len(positions), CHUNK)
    with ThreadPoolExecutor(threads) as pool:
        errors = [error for part in pool.map(fill, starts) for error in part]
    if errors:
        unreadable = any(isinstance(error, UnreadableImage) for error in errors)
        raise (UnreadableImage if unreadable else DataError)(_summary(errors))
    return ArraySplit(arrays)


def _errors(examples: Examples, indices: Sequence[int]) -> list[DataError]:
    errors = []
    for index in indices:
        try:
            examples[index]
        except DataError as error:
            errors.append(error)
    return errors


def _summary(errors: list[DataError]) -> str:
    if len(errors) == 1:
        return str(errors[0])
    return f"{len(errors):,} examples cannot be used:\n  {some_of([*map(str, errors)])}"
