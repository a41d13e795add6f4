"""Against real data, where TFDS_DATA_DIR holds it."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from cnn_jax.data import DataConfig, load_dataset
from cnn_jax.data.tfds_reader import find_prepared
from tests.tolerance import assert_close

DIRECTORY = os.environ.get("TFDS_DATA_DIR", "")


def needs(name):
    there = DIRECTORY and find_prepared(name, Path(DIRECTORY))
    return pytest.mark.skipif(
        not there, reason=f"needs a prepared {name}: set TFDS_DATA_DIR to where it lies"
    )


def digest(images):
    return hashlib.sha256(images.tobytes()).hexdigest()[:16]


def load(name, **options):
    return load_dataset(DataConfig(name=name, dir=DIRECTORY, **options), default="mnist")


@needs("cifar10")
def test_cifar10():
    dataset = load("cifar10")
    lengths = {role: len(split) for role, split in dataset.splits.items()}
    if lengths == {"train": 45_000, "validation": 5_000}:
        assert dataset.title == "CIFAR-10 45k/5k"
        train, validation = (
            dataset.splits[name].arrays["image"] for name in ("train", "validation")
        )
        assert (digest(train[:100]), digest(train[-100:])) == DIGESTS["train"]
        assert digest(validation[:100]) == DIGESTS["validation"]
    else:
        assert lengths == {"train": 45_000, "validation": 5_000, "test": 10_000}
    for split in dataset.splits.values():
        assert np.abs(np.bincount(split.arrays["label"]) / len(split) - 0.1).max() < 0.01
    assert dataset.image_shape == (32, 32, 3)
    assert dataset.class_names[:2] == ("airplane", "automobile")
    # The figures that everyone uses for the 50,000 training images.
    assert_close(np.array(dataset.mean), np.array([0.4914, 0.4822, 0.4465]), rtol=0, atol=1e-3)
    assert_close(np.array(dataset.std), np.array([0.2470, 0.2435, 0.2616]), rtol=0, atol=1e-3)


DIGESTS = {"train": ("719829360b37082a", "fc1f2f1ff4d7b23e"), "validation": "c2fc88086ed9a067"}


@needs("fashion_mnist")
def test_fashion_mnist():
    dataset = load("fashion_mnist", train="train[:6000]", validation="none")
    assert [len(split) for split in dataset.splits.values()] == [6_000, 10_000]
    assert dataset.class_names[0] == "T-shirt/top" and dataset.class_names[9] == "Ankle boot"
    assert np.all(np.bincount(dataset.splits["test"].arrays["label"]) == 1_000)
    # The figures of the 60,000 training images.
    assert_close(dataset.mean, (0.2860,), rtol=0, atol=5e-3)
    assert_close(dataset.std, (0.3530,), rtol=0, atol=5e-3)
