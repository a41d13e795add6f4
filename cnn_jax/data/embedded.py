"""The handwritten digits that are installed with scikit-learn."""

import numpy as np
from PIL import Image as PillowImage

from cnn_jax.data.dataset import Stored
from cnn_jax.data.decode import centre_square
from cnn_jax.data.names import TITLES
from cnn_jax.data.splits import ArraySplit
from cnn_jax.extras import extra


def open_digits(image_size: int = 0) -> Stored:
    """The 1,797 handwritten digits of scikit-learn, 8x8x1, as train, validation and test.

    Values 0..16 become 0..255. The examples of each class are shuffled with a fixed seed and
    divided: 70% train, 10% validation, 20% test. Then every split is shuffled.
    """
    with extra("data", "the data set digits"):
        from sklearn.datasets import load_digits  # takes a second to import

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    labels = bunch.target.astype(np.int32)
    if image_size:
        crop = centre_square(image_size)
        images = np.stack([np.asarray(crop(PillowImage.fromarray(image))) for image in images])
    images = images[..., None]

    generator = np.random.Generator(np.random.PCG64(1797))
    chosen: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for digit in range(10):
        members = np.flatnonzero(labels == digit)
        members = members[np.argsort(generator.random(len(members)))]
        validation, test = round(0.1 * len(members)), round(0.2 * len(members))
        chosen["validation"].extend(members[:validation])
        chosen["test"].extend(members[validation : validation + test])
        chosen["train"].extend(members[validation + test :])
    splits = {}
    for split, indices in chosen.items():
        order = np.asarray(indices)[np.argsort(generator.random(len(indices)))]
        splits[split] = ArraySplit({"image": images[order], "label": labels[order]})
    class_names = tuple(str(digit) for digit in range(10))
    return Stored("digits", TITLES["digits"], splits, class_names)
