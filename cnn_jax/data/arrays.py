"""Decodes a whole small split once into one uint8 array."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Int

from cnn_jax.data.dataset import ArraySplit, DataError, Examples, some_of

CHUNK = 256


def decode_all(
    examples: Examples,
    indices: Int[np.ndarray, "chosen"],
    image_shape: tuple[int, int, int],
) -> ArraySplit:
    """Decodes the examples at `indices`, in that order.

    One DataError names all that cannot be read (the first ten of many).
    """
    positions = [int(index) for index in indices]
    images = np.empty((len(positions), *image_shape), np.uint8)
    labels = np.empty(len(positions), np.int32)

    def fill(start: int) -> list[str]:
        chunk = positions[start : start + CHUNK]
        try:
            decoded = examples.__getitems__(chunk)
        except DataError:
            return _errors(examples, chunk)
        for place, (image, label) in enumerate(decoded, start):
            images[place], labels[place] = image, label
        return []

    # Decoding releases Python's lock, but below some thousand pixels the calls around it cost
    # more than the decoding itself and threads only stand in each other's way (measured: 32x32
    # WebP takes half as long again with two threads).
    threads = 1 if images[0].size < 64 * 64 * 3 else os.cpu_count() or 1
    starts = range(0, len(positions), CHUNK)
    with ThreadPoolExecutor(threads) as pool:
        errors = [error for part in pool.map(fill, starts) for error in part]
    if errors:
        raise DataError(_summary(errors))
    return ArraySplit(images, labels)


def _errors(examples: Examples, indices: Sequence[int]) -> list[str]:
    errors = []
    for index in indices:
        try:
            examples[index]
        except DataError as error:
            errors.append(str(error))
    return errors


def _summary(errors: list[str]) -> str:
    if len(errors) == 1:
        return errors[0]
    return f"{len(errors):,} examples cannot be used:\n  {some_of(errors)}"
