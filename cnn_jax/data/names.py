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
    "camvid": "CamVid",
    "isbi2012_em": "ISBI 2012 EM",
    "bccd": "BCCD",
    "nuclei": "nuclei (DSB 2018)",
    "tiny_imagenet_boxes": "Tiny ImageNet, 10 classes",
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
    # Brostow et al. 2009, in the 11 classes of SegNet (Badrinarayanan et al. 2017).
    "camvid": (
        "sky",
        "building",
        "pole",
        "road",
        "pavement",
        "tree",
        "sign",
        "fence",
        "car",
        "pedestrian",
        "bicyclist",
    ),
    "isbi2012_em": ("membrane", "cell"),
    "nuclei": ("nucleus",),
}
"""For copies whose classes have numbers only, and for masks and instances, whose classes TFDS does
not name."""

UNLABELLED = {"camvid": 11}
"""The value of the pixels of masks that belong to no class."""

SPLIT_NAMES = ("train", "val", "valid", "validation", "test")
"""What splits are called in folders and files of arrays."""


def way_without(split: str) -> str:
    """How to go without a stored split of this name, to end a message with."""
    if split == "train":
        return ""
    role = "test" if split == "test" else "validation"
    return f". To go without it, set --data.{role} none"
