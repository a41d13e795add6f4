import numpy as np
import pytest

from cnn_jax.data import IGNORED, DataError, from_arrays, random_crop
from tests.data.conftest import noise
from tests.tolerance import assert_close

IMAGES = noise(20, (5, 4, 3))
LABELS = np.arange(20) % 3


def sizes(dataset):
    return {name: len(split) for name, split in dataset.splits.items()}


def test_images_and_labels_are_a_data_set():
    dataset = from_arrays(
        {"train": (IMAGES, LABELS), "test": (IMAGES[:6], LABELS[:6])},
        class_names=("cat", "dog", "ship"),
        title="mine",
        augment=[random_crop(4)],
    )
    assert sizes(dataset) == {"train": 18, "validation": 2, "test": 6}
    assert (dataset.name, dataset.title, dataset.image_shape) == ("mine", "mine", (5, 4, 3))
    assert dataset.class_names == ("cat", "dog", "ship")
    train = dataset.splits["train"].arrays
    assert train["label"].dtype == np.int32
    assert_close(dataset.mean, tuple((train["image"] / 255).mean(axis=(0, 1, 2))))
    assert_close(dataset.std, tuple((train["image"] / 255).std(axis=(0, 1, 2))))
    assert dataset.augment == (random_crop(0),)  # suited to images of this size
    both = np.concatenate([train["image"], dataset.splits["validation"].arrays["image"]])
    assert sorted(map(bytes, both)) == sorted(map(bytes, IMAGES))


def test_validation_is_stratified_kept_or_left_out():
    sorted_labels = np.repeat([0, 1], 10)
    held = from_arrays({"train": (IMAGES, sorted_labels)}).splits["validation"]
    assert sorted(held.arrays["label"].tolist()) == [0, 1]
    own = from_arrays({"train": (IMAGES, LABELS), "val": (IMAGES[:4], LABELS[:4])})
    assert sizes(own) == {"train": 20, "validation": 4}
    assert np.array_equal(own.splits["train"].arrays["image"], IMAGES)
    assert sizes(from_arrays({"train": (IMAGES, LABELS)}, validation="none")) == {"train": 20}


def test_grey_images_columns_of_labels_and_lists():
    dataset = from_arrays({"train": (IMAGES[..., 0], LABELS[:, None].tolist())}, validation="none")
    assert dataset.image_shape == (5, 4, 1) and dataset.class_names == ("0", "1", "2")
    assert np.array_equal(dataset.splits["train"].arrays["label"], LABELS)


def test_examples_can_have_other_entries():
    masks = np.full((20, 5, 4), IGNORED, np.uint8)
    masks[3] = 1
    train = {"image": IMAGES, "mask": masks}
    dataset = from_arrays({"train": train}, class_names=("sky", "road"))
    assert dataset.spec["mask"].shape == (5, 4)
    with pytest.raises(DataError, match="train mask: example 3 has the class 1, expected 0 to 0"):
        from_arrays({"train": train}, class_names=("sky",))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES / 255, r"float64 .* \(255 \* images\)\.round\(\)\.astype\(np\.uint8\)"),
        (IMAGES.astype(np.float32), r"float32 .* take \(images\)\.round\(\)\.astype"),
        (IMAGES.astype(int), "train image is int64"),
        (IMAGES[:, 0, 0], r"uint8 of shape \(20, 3\), expected uint8"),
        (noise(20, (3, 9, 8)), r"the channels come last, so take images.transpose\(0, 2, 3, 1\)"),
    ],
)
def test_other_images_are_refused_with_the_way_out(images, message):
    with pytest.raises(DataError, match=message):
        from_arrays({"train": (images, LABELS)})


def at_five(label, dtype=np.int64):
    labels = LABELS.astype(dtype)
    labels[5] = label
    return labels


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (at_five(3), "train label: example 5 has the class 3, expected 0 to 2"),
        (at_five(-1), "train label: example 5 has the class -1"),
        (at_five(2**40), "example 5 has the class 1099511627776"),  # as int32 it would be 0
        (at_five(2**63, np.uint64), "example 5 has the class 9223372036854775808"),
        (LABELS / 2, "train label is float64 of shape"),
        (np.zeros((20, 14), int), r"int64 of shape \(20, 14\), .* one class for each image"),
        (LABELS[:19], "equal numbers of examples, got image 20, label 19"),
    ],
)
def test_wrong_labels_are_refused(labels, message):
    with pytest.raises(DataError, match=message):
        from_arrays({"train": (IMAGES, labels)}, class_names=("cat", "dog", "ship"))


def test_a_huge_label_does_not_become_that_many_classes():
    with pytest.raises(DataError, match="a label 100,000,000, expected less than 100,000"):
        from_arrays({"train": (IMAGES, at_five(10**8))})


def test_splits_that_do_not_fit_are_refused_where_they_are_used():
    train = (IMAGES, LABELS)
    with pytest.raises(DataError, match="the split 'dev' is none of train, val"):
        from_arrays({"train": train, "dev": train})
    with pytest.raises(DataError, match="train has 3 arrays, expected images and labels"):
        from_arrays({"train": (*train, LABELS)})
    with pytest.raises(DataError, match=r"val has no examples. .*--data.validation none"):
        from_arrays({"train": train, "val": (IMAGES[:0], LABELS[:0])})
    with pytest.raises(DataError, match=r"test has image uint8 \(5, 4, 3\), expected the same ent"):
        from_arrays({"train": train, "test": {"image": IMAGES}})
    with pytest.raises(DataError, match="no split named 'train'"):
        from_arrays({"test": train})


def test_masks_are_bytes_whose_classes_are_numbered():
    masks = np.arange(20 * 5 * 4).reshape(20, 5, 4) % 3
    masks[:, 0] = IGNORED
    dataset = from_arrays({"train": {"image": IMAGES, "mask": masks[..., None]}}, validation="none")
    assert dataset.class_names == ("0", "1", "2")
    stored = dataset.splits["train"].arrays["mask"]
    assert stored.dtype == np.uint8 and np.array_equal(stored, masks)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (
            np.zeros((20, 5, 4, 3), np.uint8),
            r"train mask is uint8 of shape \(20, 5, 4, 3\), exp",
        ),
        (np.zeros((20, 5, 4)), "train mask is float64 of shape .* the class of every pixel"),
        (np.zeros((20, 4, 5), int), "the masks have 4x5 pixels and the images 5x4"),
        (np.full((20, 5, 4), 2), "example 0 has the class 2, expected 0 to 1, .*, or 255 for none"),
        (np.full((20, 5, 4), 2**32), "has the class 4294967296"),
        (np.full((20, 5, 4), -1), "has the class -1, expected 0 to 1"),
    ],
)
def test_wrong_masks_are_refused(masks, message):
    with pytest.raises(DataError, match=message):
        from_arrays({"train": {"image": IMAGES, "mask": masks}}, class_names=("sky", "road"))
