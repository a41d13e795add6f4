"""Titles of the lecture's data sets, names of their classes, and names of splits."""

MOST_CLASSES = 100_000
"""The largest number of classes of a file: more are a mistake, and take long to name."""

TITLES = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "digits": "handwritten digits 8x8",
    "shapes": "scenes of shapes",
}

CLASS_NAMES = {
    "fashion_mnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
}
"""For copies whose classes have numbers only."""

SPLIT_NAMES = ("train", "val", "valid", "validation", "test")
"""What splits are called in folders and files of arrays."""


def way_without(split: str) -> str:
    """How to go without a stored split of this name, to end a message with."""
    if split == "train":
        return ""
    role = "test" if split == "test" else "validation"
    return f". To go without it, set --data.{role} none"
