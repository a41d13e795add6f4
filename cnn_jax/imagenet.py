"""ImageNet's 1,000 classes: their WordNet ids and names."""

from collections.abc import Sequence
from functools import cache
from importlib import resources


@cache
def _names_by_id() -> dict[str, str]:
    """Names by WordNet id, in the order of the ids, which is that of the labels.

    The ids are those of ILSVRC 2012, the names torchvision's.
    """
    text = resources.files("cnn_jax").joinpath("imagenet_classes.txt").read_text("utf-8")
    return dict(line.split(" ", 1) for line in text.splitlines())


def imagenet_classes() -> tuple[str, ...]:
    """The names of ImageNet's 1,000 classes, by label, in torchvision's wording."""
    return tuple(_names_by_id().values())


def readable_classes(class_names: Sequence[str]) -> tuple[str, ...]:
    """Class names with a name such as "tench" instead of a WordNet id such as "n01440764".

    No two of ImageNet's classes have the same name, so equal names still mean equal classes. Other
    names are kept, and so are all if two of them would become equal.
    """
    names = _names_by_id()
    readable = tuple(names.get(name, name) for name in class_names)
    return readable if len(set(readable)) == len(set(class_names)) else tuple(class_names)
