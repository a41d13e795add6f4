import numpy as np

from cnn_jax.data import DataConfig, load_dataset, random_crop, random_flip
from cnn_jax.data.embedded import open_digits
from tests.tolerance import assert_close


def test_the_splits_are_stratified_disjoint_and_complete():
    from sklearn.datasets import load_digits

    splits = open_digits().splits
    lengths = {name: len(split) for name, split in splits.items()}
    assert lengths == {"train": 1259, "validation": 179, "test": 359}
    for split in splits.values():
        shares = np.bincount(split.arrays["label"]) / len(split)
        assert np.abs(shares - 0.1).max() < 0.01
    images = np.concatenate([split.arrays["image"] for split in splits.values()])
    original = np.round(load_digits().data * 255 / 16).astype(np.uint8)
    assert sorted(map(bytes, images.reshape(len(images), -1))) == sorted(map(bytes, original))


def test_they_are_always_the_same():
    one, other = (open_digits().splits["train"].arrays for _ in range(2))
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert one["label"][:8].tolist() == [3, 4, 7, 4, 0, 9, 6, 1]


def test_as_a_data_set():
    dataset = load_dataset(
        DataConfig(name="digits"), default="cifar10", augment=[random_crop(4), random_flip()]
    )
    assert (dataset.name, dataset.image_shape, dataset.num_classes) == ("digits", (8, 8, 1), 10)
    assert not dataset.stand_in
    assert dataset.augment == (random_crop(1),)
    assert len(dataset.notes) == 2
    train = dataset.splits["train"]
    assert train.arrays["image"].dtype == np.uint8 and train.arrays["image"].max() == 255
    assert_close(dataset.mean, ((train.arrays["image"] / 255).mean(),))


def test_splits_and_size_can_be_chosen():
    config = DataConfig(name="digits", train="train[:50%]", validation="none", image_size=16)
    dataset = load_dataset(config, default="cifar10")
    assert set(dataset.splits) == {"train", "test"}
    assert dataset.splits["train"].arrays["image"].shape == (630, 16, 16, 1)
    joined = load_dataset(
        DataConfig(name="digits", train="train+validation", validation="none"), default="digits"
    )
    assert len(joined.splits["train"]) == 1259 + 179
