import numpy as np
import pytest

from cnn_jax.data import IGNORED, DataConfig, DataError, load_dataset

RNG = np.random.default_rng(0)
ARRAYS = {
    f"{split}_{part}": array
    for split, count in (("train", 20), ("test", 6))
    for part, array in {
        "images": RNG.integers(0, 256, (count, 5, 4, 3), np.uint8),
        "labels": np.arange(count) % 3,
    }.items()
}


MASKS = np.full((20, 5, 4), IGNORED, np.uint8)


def load(path, arrays, **options):
    np.savez(path, **arrays)
    return load_dataset(DataConfig(name=str(path), **options), default="digits")


def test_a_file_is_a_data_set(tmp_path):
    dataset = load(tmp_path / "cifar10.npz", ARRAYS, validation="none")
    assert (dataset.name, dataset.title, dataset.image_shape) == ("cifar10", "CIFAR-10", (5, 4, 3))
    assert dataset.class_names == ("0", "1", "2")
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 20, "test": 6}
    assert np.array_equal(dataset.splits["test"].arrays["image"], ARRAYS["test_images"])
    assert dataset.splits["test"].arrays["label"].dtype == np.int32


def test_classes_have_names_and_validation_is_a_part_of_train(tmp_path):
    names = np.array(["cat", "dog", "ship"])
    dataset = load(tmp_path / "mine.npz", ARRAYS | {"class_names": names})
    assert dataset.class_names == ("cat", "dog", "ship")
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 18,
        "validation": 2,
        "test": 6,
    }


def test_other_arrays_are_entries_of_their_names(tmp_path):
    boxes = np.zeros((20, 2, 4))
    arrays = {
        "train_images": ARRAYS["train_images"],
        "train_mask": MASKS,
        "train_boxes": boxes,
        "train_box_labels": np.full((20, 2), -1),
        "class_names": np.array(["background", "cat"]),
    }
    dataset = load(tmp_path / "masks.npz", arrays, validation="none")
    assert dataset.class_names == ("background", "cat")
    assert {name: one.dtype.name for name, one in dataset.spec.items()} == {
        "image": "uint8",
        "mask": "uint8",
        "boxes": "float32",
        "box_labels": "int32",
    }
    assert np.array_equal(dataset.splits["train"].arrays["mask"], MASKS)
    with pytest.raises(DataError, match="train mask: example 0 has the class 254, expected 0 to 1"):
        load(tmp_path / "masks.npz", arrays | {"train_mask": MASKS - 1})


def test_files_of_medmnist(tmp_path):
    """Grey images [n, 28, 28], labels [n, 1] of bytes, and a split that is called val."""
    generator = np.random.default_rng(1)
    arrays = {}
    for split, count in (("train", 8), ("val", 4), ("test", 3)):
        arrays[f"{split}_images"] = generator.integers(0, 256, (count, 28, 28), np.uint8)
        arrays[f"{split}_labels"] = np.arange(count, dtype=np.uint8)[:, None] % 3
    dataset = load(tmp_path / "pneumonia.npz", arrays)
    assert {name: len(split) for name, split in dataset.splits.items()} == {
        "train": 8,
        "validation": 4,
        "test": 3,
    }
    assert dataset.image_shape == (28, 28, 1) and dataset.num_classes == 3
    assert dataset.splits["validation"].arrays["label"].tolist() == [0, 1, 2, 0]


def test_the_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"wrong.npz: train image is float64"):
        load(tmp_path / "wrong.npz", ARRAYS | {"train_images": ARRAYS["train_images"] / 255})


def test_one_split_of_a_file_is_enough_to_evaluate(tmp_path):
    np.savez(tmp_path / "held.npz", **{k: v for k, v in ARRAYS.items() if "test" in k})
    config = DataConfig(name=str(tmp_path / "held.npz"))
    dataset = load_dataset(config, default="digits", only=["test"])
    assert {name: len(split) for name, split in dataset.splits.items()} == {"test": 6}
    assert dataset.image_shape == (5, 4, 3) and dataset.mean == ()


def test_a_file_that_is_too_large_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("cnn_jax.data.array_file.MOST_BYTES", 1000)
    np.savez_compressed(tmp_path / "bomb.npz", train_images=np.zeros((9, 20, 20, 3), np.uint8))
    with pytest.raises(DataError, match="arrays have 10,928 bytes, and the limit is 1,000"):
        load_dataset(DataConfig(name=str(tmp_path / "bomb.npz")), default="digits")


def test_files_without_the_arrays_are_refused(tmp_path):
    with pytest.raises(DataError, match="has no images: expected train_images .*, found images"):
        load(tmp_path / "wrong.npz", {"images": ARRAYS["train_images"]})
    with pytest.raises(DataError, match="there is no file"):
        load_dataset(DataConfig(name="./none.npz"), default="digits")
    (tmp_path / "text.npz").write_text("no arrays")
    with pytest.raises(DataError, match="cannot be read as a file of numpy.savez"):
        load_dataset(DataConfig(name=str(tmp_path / "text.npz")), default="digits")


def test_images_are_not_resized(tmp_path):
    with pytest.raises(DataError, match="are not resized: remove --data.image-size"):
        load(tmp_path / "mine.npz", ARRAYS, image_size=8)


def test_masks_of_a_file(tmp_path):
    masks = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4) % 2
    images = np.zeros((3, 4, 4, 3), np.uint8)
    path = tmp_path / "streets.npz"
    np.savez(path, train_images=images, train_masks=masks, class_names=["sky", "road"])
    dataset = load_dataset(
        DataConfig(name=str(path), validation="none"), default="camvid", target="mask"
    )
    assert dataset.class_names == ("sky", "road")
    assert np.array_equal(dataset.splits["train"].arrays["mask"], masks)
