"""Data sets of TFDS with boxes or instances."""

import io
import os
from pathlib import Path

import numpy as np
import pytest

from cnn_jax.data import DataConfig, DataError, load_dataset
from tests.data.conftest import noise, png

BOXES = [[0.0, 0.0, 0.5, 0.4], [0.5, 0.2, 1.0, 1.0]]
"""(ymin, xmin, ymax, xmax), as shares of 6x5 pixels."""
PIXELS = [[0.0, 0.0, 2.0, 3.0], [1.0, 3.0, 5.0, 6.0]]


@pytest.fixture
def tfds():
    return pytest.importorskip("tensorflow_datasets")


def box(tfds, one):
    return tfds.features.BBox(*one)


def sequence(tfds, **features):
    return tfds.features.Sequence({"bbox": tfds.features.BBoxFeature(), **features})


def load(directory, target="boxes", **options):
    config = DataConfig(name="cells", dir=str(directory), validation="none", **options)
    return load_dataset(config, default="bccd", target=target)


def by_count(dataset):
    """The examples with fewer objects first; a prepared data set is shuffled."""
    split = dataset.splits["train"]
    found = [split[index] for index in range(len(split))]
    return sorted(found, key=lambda one: one["boxes"].any(axis=1).sum())


@pytest.fixture
def directory(tfds, write_tfds):
    """Two images with two objects, one of them difficult, and with none."""
    names = tfds.features.ClassLabel(names=["red", "white"])
    objects = [
        [
            {"bbox": box(tfds, BOXES[0]), "label": 1, "is_difficult": False},
            {"bbox": box(tfds, BOXES[1]), "label": 0, "is_difficult": True},
        ],
        [],
    ]
    return write_tfds(
        "cells",
        {"train": list(zip(map(png, noise(2)), objects, strict=True))},
        label=sequence(tfds, label=names, is_difficult=np.bool_),
        label_key="objects",
        shape=(None, None, 3),
    )


def test_boxes_in_pixels(directory):
    dataset = load(directory)
    assert dataset.class_names == ("red", "white")
    none, two = by_count(dataset)
    np.testing.assert_allclose(two["boxes"], PIXELS, rtol=1e-6)
    assert two["box_labels"].tolist() == [1, -1] and two["crowd_labels"].tolist() == [-1, 0]
    assert none["box_labels"].tolist() == [-1, -1] and not none["boxes"].any()
    assert two["size"].tolist() == [6, 5]
    # The longer side becomes 12.
    _, two = by_count(load(directory, image_size=12))
    np.testing.assert_allclose(two["boxes"], 2 * np.array(PIXELS), rtol=1e-6)
    assert two["image"].shape == (12, 10, 3)


def test_what_cannot_be_used(directory):
    with pytest.raises(DataError, match="has 2 objects, and 1 fit: set --data.most-boxes to 2"):
        load(directory, most_boxes=1)
    with pytest.raises(DataError, match="localization needs one object .*:\n.* has 0|has 2"):
        load(directory, "box")
    with pytest.raises(DataError, match="cells has no images with instances: its features are"):
        load(directory, "instances")
    with pytest.raises(DataError, match="cells has no class label"):
        load(directory, "label")


def test_a_box_without_area_is_named(tfds, write_tfds):
    names = tfds.features.ClassLabel(names=["red", "white"])
    flat = [{"bbox": box(tfds, [0.5, 0.2, 0.5, 1.0]), "label": 1}]
    whole = [{"bbox": box(tfds, BOXES[1]), "label": 1}]
    directory = write_tfds(
        "cells",
        {"train": list(zip(map(png, noise(2)), [flat, whole], strict=True))},
        label=sequence(tfds, label=names),
        label_key="objects",
    )
    with pytest.raises(DataError, match=r"example \d of cells train, object 0: the box .* no area"):
        load(directory)
    dataset = load(directory, skip_unreadable=True)
    assert "boxes that cannot be used are left out: 1\n" in dataset.notes[0]
    assert by_count(dataset)[1]["box_labels"].tolist() == [1]


def test_instances_have_boxes(tfds, write_tfds):
    ids = np.zeros((6, 5, 1), np.uint8)
    ids[:3, :2], ids[3:, 1:] = 9, 4
    directory = write_tfds(
        "cells",
        {"train": [(png(noise(1)[0]), io.BytesIO(png(ids)))]},
        label=tfds.features.Image(shape=(6, 5, 1)),
        label_key="instance_ids",
    )
    dataset = load(directory, "instances")
    assert dataset.class_names == ("object",)
    (example,) = by_count(dataset)
    expected = np.where(ids == 9, 2, np.where(ids == 4, 1, 0))[..., 0]
    np.testing.assert_array_equal(example["instances"], expected)
    assert example["boxes"].tolist() == PIXELS[::-1]
    assert "instances" not in load(directory).spec


def test_prepared_data_sets_of_objects():
    """Those that the suite finds under TFDS_DATA_DIR."""
    directory = Path(os.environ.get("TFDS_DATA_DIR", ""))
    if not (directory / "bccd").is_dir() or not (directory / "nuclei").is_dir():
        pytest.skip("bccd and nuclei are not prepared under TFDS_DATA_DIR")

    def first(name, target, **options):
        config = DataConfig(name=name, train="train[:2]", validation="none", test="none", **options)
        dataset = load_dataset(config, default=name, target=target)
        return dataset, dataset.splits["train"][0]

    cells, example = first("bccd", "boxes")
    assert cells.class_names == ("RBC", "WBC", "Platelets")
    assert cells.spec["boxes"].shape == (30, 4) and example["size"].tolist() == [480, 640]
    there = example["box_labels"] >= 0
    assert there.any() and not example["boxes"][~there].any()
    nuclei, example = first("nuclei", "instances")
    assert nuclei.class_names == ("nucleus",) and nuclei.spec["boxes"].shape == (101, 4)
    for row in range(example["instances"].max()):
        ys, xs = np.nonzero(example["instances"] == row + 1)
        tight = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        assert example["boxes"][row].tolist() == tight
