import numpy as np
import pytest

from cnn_jax.data import DataConfig, DataError, load_dataset
from cnn_jax.data.scenes import CLASS_NAMES, MOST, scene

MANY = [scene((3, number), 32) for number in range(200)]


def tight_box(pixels):
    rows, columns = np.nonzero(pixels)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_masks_boxes_and_instances_agree_pixel_by_pixel():
    for example in MANY:
        labels, instances = example["box_labels"], example["instances"]
        count = instances.max()
        assert 1 <= count <= MOST and set(np.unique(instances)) >= set(range(1, count + 1))
        assert np.all((labels[:count] >= 1) & (labels[:count] < len(CLASS_NAMES)))
        assert np.all(labels[count:] == -1) and np.all(example["boxes"][count:] == 0)
        classes = np.array([0, *labels[:count]])
        assert np.array_equal(example["mask"], classes[instances])
        for number in range(count):
            assert example["boxes"][number].tolist() == tight_box(instances == number + 1)


def test_all_classes_occur_and_some_shapes_are_partly_covered():
    labels = np.concatenate([example["box_labels"] for example in MANY])
    counts = np.bincount(labels[labels >= 0])
    assert counts[0] == 0 and np.all(counts[1:] > 0.25 * counts.sum())
    squares = [
        (example["instances"] == row + 1, example["boxes"][row])
        for example in MANY
        for row in np.flatnonzero(example["box_labels"] == CLASS_NAMES.index("square"))
    ]
    covered = [pixels.sum() < (box[2] - box[0]) * (box[3] - box[1]) for pixels, box in squares]
    assert 0 < np.mean(covered) < 0.5


def test_shapes_can_be_told_from_the_background():
    for example in MANY[:50]:
        image, instances = example["image"].astype(float), example["instances"]
        # The background is grey, up to noise; the shapes are not.
        colours = [image[instances == k].mean(axis=0) for k in range(instances.max() + 1)]
        spread = [np.ptp(colour) for colour in colours]
        assert spread[0] < 10 < 60 < min(spread[1:])


def test_a_scene_is_a_function_of_its_seed_and_size():
    again, other = scene((3, 0), 32), scene((3, 1), 32)
    assert all(np.array_equal(again[name], MANY[0][name]) for name in again)
    assert not np.array_equal(other["image"], again["image"])
    assert scene((3, 0), 48)["image"].shape == (48, 48, 3)
    recorded = MANY[4]
    assert recorded["box_labels"].tolist() == [2, 1, 2, 2, -1, -1]
    assert recorded["boxes"][:2].tolist() == [[13, 3, 19, 9], [21, 20, 29, 27]]


def test_as_a_data_set():
    config = DataConfig(name="shapes", train="train[:40]", validation="validation[:5]", test="none")
    dataset = load_dataset(config, default="cifar10")
    assert (dataset.name, dataset.title) == ("shapes", "scenes of shapes 64x64")
    assert dataset.class_names == CLASS_NAMES and dataset.image_shape == (64, 64, 3)
    train, validation = dataset.splits["train"], dataset.splits["validation"]
    assert (len(train), len(validation)) == (40, 5)
    assert {name: (one.shape, one.dtype.name) for name, one in dataset.spec.items()} == {
        "image": ((64, 64, 3), "uint8"),
        "mask": ((64, 64), "uint8"),
        "instances": ((64, 64), "uint8"),
        "boxes": ((MOST, 4), "float32"),
        "box_labels": ((MOST,), "int32"),
    }
    assert all(np.array_equal(train[7][name], scene((0, 7), 64)[name]) for name in dataset.spec)
    stream = load_dataset(
        DataConfig(name="shapes", train="train[:40]", storage="stream", image_size=64),
        default="cifar10",
    )
    assert all(
        np.array_equal(stream.splits["train"][7][name], train[7][name]) for name in dataset.spec
    )


def test_scenes_have_a_least_size():
    with pytest.raises(DataError, match="image-size 12 is too small .* use 16 or more"):
        load_dataset(DataConfig(name="shapes", image_size=12), default="cifar10")


@pytest.mark.parametrize("target", ["box", "boxes", "instances"])
def test_as_a_data_set_of_objects(target):
    """The same scenes without the class of the background."""
    config = DataConfig(name="shapes", train="train[:8]", validation="none", test="none")
    dataset = load_dataset(config, default="bccd", target=target)
    assert dataset.class_names == CLASS_NAMES[1:]
    extra = {"box": {"label"}, "boxes": set(), "instances": {"instances"}}[target]
    assert set(dataset.spec) == {"image", "size", "boxes", "box_labels"} | extra
    for index in range(8):
        example, original = dataset.splits["train"][index], scene((0, index), 64)
        assert example["size"].tolist() == [64, 64]
        if target == "box":
            assert example["boxes"].shape == (1, 4) and example["boxes"][0].any()
            assert example["label"] == example["box_labels"][0] in (0, 1, 2)
            continue
        assert np.array_equal(example["boxes"], original["boxes"])
        there = original["box_labels"] >= 0
        assert np.array_equal(example["box_labels"], original["box_labels"] - there)
