"""The order of the examples in training: a pure function of seed and epoch."""

import numpy as np
from jaxtyping import Int32


def epoch_order(seed: int, epoch: int, n: int) -> Int32[np.ndarray, "n"]:
    """The permutation of `n` examples that training visits in an epoch.

    It is the same on every host and machine, and after a resume: NumPy guarantees the raw bits of
    a bit generator between its versions, which it does not for `Generator.permutation`, so the
    examples are sorted by such bits.
    """
    if seed < 0 or epoch < 0 or n < 0:
        raise ValueError(
            f"epoch_order: seed={seed}, epoch={epoch}, n={n}, expected none of them to be negative"
        )
    bits = np.random.PCG64(np.random.SeedSequence([seed, epoch])).random_raw(n)
    return np.argsort(bits, kind="stable").astype(np.int32)
