"""The order in which the examples of a split are visited: pure functions, the same on all hosts."""

import numpy as np
from jaxtyping import Int32


def epoch_order(seed: int, epoch: int, n: int) -> Int32[np.ndarray, "n"]:
    """The random permutation of `n` examples for one epoch of training.

    It is the same on every host and machine, and after a resume. NumPy guarantees that the raw
    bits of a bit generator stay the same between its versions, but not the result of
    `Generator.permutation`. The examples are therefore sorted by such bits.

    Raises:
        ValueError: `seed`, `epoch` or `n` is negative.
    """
    if seed < 0 or epoch < 0 or n < 0:
        raise ValueError(
            f"epoch_order: seed={seed}, epoch={epoch}, n={n}, expected 0 or more for each of them"
        )
    bits = np.random.PCG64(np.random.SeedSequence([seed, epoch])).random_raw(n)
    return np.argsort(bits, kind="stable").astype(np.int32)


def padded_order(n: int, batch_size: int) -> Int32[np.ndarray, "places"]:
    """0 to n - 1, followed by -1 up to a whole number of batches."""
    places = np.arange(-(-n // batch_size) * batch_size, dtype=np.int32)
    return np.where(places < n, places, -1).astype(np.int32)


def contiguous_order(
    n: int, batch_size: int, *, padded: bool = False
) -> Int32[np.ndarray, "places"]:
    """The order in which row b of every batch walks through the b-th part of a sequence.

    With R steps, step t holds the places t, R + t, 2 R + t, and so on. In training R is
    n // batch_size and the remainder is left out. With `padded` R is rounded up, every place
    occurs once, and -1 stands for the places beyond the last one.
    """
    steps = -(-n // batch_size) if padded else n // batch_size
    places = np.arange(steps * batch_size, dtype=np.int32).reshape(batch_size, steps).T.reshape(-1)
    return np.where(places < n, places, -1).astype(np.int32)
