"""The data that the probes train on, made from a seed."""

import numpy as np

from cnn_jax.data import ArraySplit, Dataset, WindowSplit

SIZE, BOXES, CHARACTERS, LENGTH, USED = 12, 3, 5, 6, 40


def dataset(splits: dict[str, ArraySplit | WindowSplit], **fields: object) -> Dataset:
    return Dataset("generated", "generated", splits, ("thing",), **fields)


def rectangles(seed: int, n: int) -> ArraySplit:
    """One bright rectangle in each image; its class is its brightness."""
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.permuted(np.tile(np.arange(SIZE + 1), (n, 2, 1)), axis=2)[..., :2])
    (x0, x1), (y0, y1) = corners.transpose(1, 2, 0)
    at = np.arange(SIZE)
    columns = (at >= x0[:, None]) & (at < x1[:, None])
    rows = (at >= y0[:, None]) & (at < y1[:, None])
    mask = (rows[:, :, None] & columns[:, None, :]) * rng.integers(1, 3, (n, 1, 1))
    return ArraySplit(
        {
            "image": (100 * mask + 50)[..., None].astype(np.uint8),
            "mask": mask.astype(np.int32),
            "boxes": np.stack([x0, y0, x1, y1], axis=1)[:, None].astype(np.float32),
            "box_labels": mask.max((1, 2)).astype(np.int32)[:, None],
        }
    )


def padded_boxes(seed: int, n: int) -> ArraySplit:
    """One to three boxes, padded to three; the input consists of their corners and labels."""
    rng = np.random.default_rng(seed)
    labels = np.where(np.arange(BOXES) < rng.integers(1, BOXES + 1, (n, 1)), 0, -1)
    boxes = rng.uniform(0, 8, (n, BOXES, 4)) * (labels >= 0)[..., None]
    inputs = np.concatenate([boxes.reshape(n, -1), labels], axis=1)
    arrays = {"image": inputs.astype(np.float32), "boxes": boxes.astype(np.float32)}
    return ArraySplit(arrays | {"box_labels": labels.astype(np.int32)})


def ring(seed: int, n: int) -> ArraySplit:
    """Points on a circle."""
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi, n)
    return ArraySplit({"image": np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)})


def text(seed: int, windows: int) -> WindowSplit:
    """Every character is mostly the sum of the two before it.

    Windows overlap by one token: the last target of one is the first input of the next.
    """
    tokens = [0, 1]
    for noise in np.random.default_rng(seed).integers(0, 10, windows * LENGTH - 1):
        tokens.append((tokens[-1] + tokens[-2] + (noise == 0)) % CHARACTERS)
    return WindowSplit(np.array(tokens, np.int32), length=LENGTH + 1, stride=LENGTH)


def words(seed: int, n: int) -> WindowSplit:
    """Random words, and the two neighbours of each on both sides."""
    tokens = np.random.default_rng(seed).integers(0, USED, n).astype(np.int32)
    return WindowSplit(tokens, length=5, stride=1, contiguous=False)
