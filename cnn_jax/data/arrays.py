"""Decodes a whole small split once into one uint8 array."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from cnn_jax.data.dataset import ArraySplit, DataError, Examples

CHUNK = 256


def decode_all(
    title: str, examples: Examples, indices: Sequence[int] | np.ndarray, class_names: Sequence[str]
) -> ArraySplit:
    """Reads the examples at `indices`, in that order; a label outside the classes is named."""
    positions = [int(index) for index in indices]
    if not positions:
        raise DataError(f"{title} holds no examples")
    shape = examples[positions[0]][0].shape
    images = np.empty((len(positions), *shape), np.uint8)
    labels = np.empty(len(positions), np.int32)

    def fill(start: int) -> None:
        chunk = positions[start : start + CHUNK]
        for offset, (image, label) in enumerate(examples.__getitems__(chunk)):
            if image.shape != shape:
                raise DataError(
                    f"{title}: example {chunk[offset]} has the shape {image.shape}, the first one"
                    f" {shape}: choose one size with --data.image-size"
                )
            images[start + offset] = image
            labels[start + offset] = label

    # Decoding releases Python's lock, but below some thousand pixels the calls around it cost
    # more than the decoding itself and threads only stand in each other's way (measured: 32x32
    # WebP takes half as long again with two threads).
    threads = 1 if images[0].size < 64 * 64 * 3 else os.cpu_count() or 1
    starts = range(0, len(positions), CHUNK)
    if threads == 1:
        for start in starts:
            fill(start)
    else:
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(fill, starts):
                pass
    check_labels(title, labels, positions, class_names)
    return ArraySplit(images, labels)


def check_labels(
    title: str, labels: np.ndarray, indices: Sequence[int], class_names: Sequence[str]
) -> None:
    """Raises DataError where a label is not the number of a class."""
    wrong = np.flatnonzero((labels < 0) | (labels >= len(class_names)))
    if len(wrong):
        raise DataError(
            f"{title}: example {indices[wrong[0]]} has the label {labels[wrong[0]]}, outside the"
            f" {len(class_names)} classes 0..{len(class_names) - 1}"
            + (f" ({len(wrong):,} such examples)" if len(wrong) > 1 else "")
        )
