"""Data that comes with an installed package: scikit-learn's handwritten digits."""

import numpy as np

from cnn_jax.data.dataset import ArraySplit

CLASS_NAMES = tuple(str(digit) for digit in range(10))


def load_digits() -> dict[str, ArraySplit]:
    """The 1,797 handwritten digits of scikit-learn, 8x8x1, as train, validation and test.

    Values 0..16 become 0..255. Within each class the examples are shuffled once and for all and
    go 70% to train, 10% to validation and 20% to test; then every split is shuffled.
    """
    from sklearn.datasets import load_digits as load_sklearn_digits  # slow to import

    stored = load_sklearn_digits()
    images = np.round(stored.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = stored.target.astype(np.int32)

    generator = np.random.Generator(np.random.PCG64(1797))
    chosen: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for digit in range(10):
        members = np.flatnonzero(labels == digit)
        members = members[np.argsort(generator.random(len(members)))]
        held_out = round(0.1 * len(members)), round(0.2 * len(members))
        chosen["validation"].extend(members[: held_out[0]])
        chosen["test"].extend(members[held_out[0] : sum(held_out)])
        chosen["train"].extend(members[sum(held_out) :])
    splits = {}
    for split, indices in chosen.items():
        order = np.asarray(indices)[np.argsort(generator.random(len(indices)))]
        splits[split] = ArraySplit(images[order], labels[order])
    return splits
