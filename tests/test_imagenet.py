from importlib import resources

import pytest

from cnn_jax.imagenet import imagenet_classes, readable_classes

# Imagenette's classes, as its own README lists them.
IMAGENETTE = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}


def test_wordnet_ids_get_names():
    assert readable_classes(tuple(IMAGENETTE)) == tuple(IMAGENETTE.values())
    assert readable_classes(["cat", "n01440764", "n00000000"]) == ("cat", "tench", "n00000000")


def test_names_stay_different():
    assert readable_classes(["n01440764", "tench"]) == ("n01440764", "tench")


def test_the_ids_are_in_the_order_of_the_labels():
    tfds = pytest.importorskip("tensorflow_datasets")
    folder = resources.files(tfds) / "datasets" / "imagenet2012"
    ids = (folder / "labels.txt").read_text().split()
    assert readable_classes(ids) == imagenet_classes()
