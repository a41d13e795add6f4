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
    with pytest.raises(DataError, match="mask of train from 0 to 254, expected 0 to 1"):
        load(tmp_path / "masks.npz", arrays | {"train_mask": MASKS - 1})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_images": ARRAYS["train_images"] / 255}, "train_images are float64 .* uint8"),
        (
            {"test_images": ARRAYS["test_images"][:, 1:]},
            r"test has image uint8 \(4, 4, 3\).* of one",
        ),
        ({"train_mask": MASKS}, r"expected the same entries .* train has .*mask uint8 \(5, 4\)"),
        ({"train_labels": np.zeros((20, 3))}, "train_labels are float64 .* integers"),
        ({"train_labels": np.arange(19) % 3}, "equal numbers of examples, got image 20, label 19"),
        ({"class_names": np.array(["a", "b"])}, "label of train from 0 to 2, expected 0 to 1"),
    ],
)
@pytest.mark.usefixtures("no_shape_hook")
def test_arrays_that_do_not_fit_are_refused(tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        load(tmp_path / "wrong.npz", ARRAYS | change)


def test_files_without_the_arrays_are_refused(tmp_path):
    with pytest.raises(DataError, match="no train split: expected train_images .*, found images"):
        load(tmp_path / "wrong.npz", {"images": ARRAYS["train_images"]})
    with pytest.raises(DataError, match="there is no file"):
        load_dataset(DataConfig(name="./none.npz"), default="digits")
    (tmp_path / "text.npz").write_text("no arrays")
    with pytest.raises(DataError, match="cannot be read as a file of numpy.savez"):
        load_dataset(DataConfig(name=str(tmp_path / "text.npz")), default="digits")


def test_images_are_not_resized(tmp_path):
    with pytest.raises(DataError, match="are not resized: remove --data.image-size"):
        load(tmp_path / "mine.npz", ARRAYS, image_size=8)
