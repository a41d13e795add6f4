"""The validation split of a data set that has none."""

import numpy as np
from jaxtyping import Int

from cnn_jax.data.order import epoch_order

SEED = 0


def hold_out(
    positions: Int[np.ndarray, "n"], count: int, labels: Int[np.ndarray, "examples"] | None
) -> tuple[Int[np.ndarray, "rest"], Int[np.ndarray, "held"]]:
    """Divides examples at random: `count` of them are held out, and the rest.

    Both parts are shuffled, always in the same way. Of every class, `count / n` of its examples are
    held out, rounded down or up. The only example of a class is never held out, so there may be
    fewer than `count`.

    Args:
        positions: the examples to divide.
        count: at most n.
        labels: the classes of all stored examples, also of those not in `positions`; None to divide
            without regard to classes.
    """
    shuffled = positions[epoch_order(SEED, 0, len(positions))]
    by_class = np.arange(len(shuffled))  # places in `shuffled`
    if labels is not None:
        _, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        by_class = np.argsort(labels[shuffled], kind="stable")
        by_class = by_class[sizes[inverse][shuffled[by_class]] > 1]
    count = min(count, len(by_class))
    held = np.zeros(len(shuffled), bool)
    # Equal steps through the sorted classes meet each class in proportion to its size.
    held[by_class[(np.arange(count) * len(by_class) + len(by_class) // 2) // max(count, 1)]] = True
    return shuffled[~held], shuffled[held]
