"""Data sets of TFDS whose examples have a class for every pixel."""

import io

import numpy as np
import pytest

from cnn_jax.data import IGNORED, DataConfig, DataError, load_dataset
from cnn_jax.data.names import CLASS_NAMES, UNLABELLED
from tests.data.conftest import noise, png

MASKS = noise(6, (6, 5, 1)) % 3


@pytest.fixture
def write(write_tfds):
    """A function that writes images with masks and returns the TFDS directory."""
    tfds = pytest.importorskip("tensorflow_datasets")

    def write(masks=MASKS, name="streets", key="segmentation_mask", channels=1, **options):
        files = [io.BytesIO(png(mask)) for mask in masks]
        images = map(png, noise(len(masks)))
        return write_tfds(
            name,
            {"train": list(zip(images, files, strict=True))},
            label=tfds.features.Image(shape=(None, None, channels)),
            label_key=key,
            **options,
        )

    return write


def load(directory, name="streets", **options):
    config = DataConfig(name=name, dir=str(directory), validation="none", **options)
    return load_dataset(config, default="camvid", target="mask")


def pairs(split):
    return sorted(
        (image.tobytes(), mask.tobytes())
        for image, mask in zip(split.arrays["image"], split.arrays["mask"], strict=True)
    )


@pytest.mark.parametrize("key", ["segmentation_mask", "annotation", "label"])
def test_images_and_masks(write, key):
    dataset = load(write(key=key))
    assert dataset.class_names == ("0", "1", "2")
    spec = dataset.spec["mask"]
    assert (spec.shape, spec.dtype) == ((6, 5), np.uint8)
    stored = zip(noise(6), MASKS[..., 0], strict=True)
    expected = sorted((image.tobytes(), mask.tobytes()) for image, mask in stored)
    assert pairs(dataset.splits["train"]) == expected


def test_known_names_and_the_value_of_unlabelled_pixels(write, monkeypatch):
    monkeypatch.setitem(CLASS_NAMES, "streets", ("sky", "road"))
    directory = write()
    with pytest.raises(DataError, match=r"mask of example \d of streets train has the class 2, ex"):
        load(directory)
    monkeypatch.setitem(UNLABELLED, "streets", 2)
    dataset = load(directory)
    assert dataset.class_names == ("sky", "road")
    masks = dataset.splits["train"].arrays["mask"]
    assert np.sum(masks == IGNORED) == np.sum(MASKS == 2) and masks[masks != IGNORED].max() == 1


def test_ignored_pixels_are_no_class(write):
    masks = MASKS.copy()
    masks[2] = IGNORED
    assert load(write(masks)).num_classes == 3


def test_masks_are_resized_to_their_nearest_pixels(write):
    masks = np.kron(MASKS, np.ones((1, 4, 4, 1), np.uint8)) * 100
    images = np.zeros((6, 24, 20, 3), np.uint8)
    directory = write(masks, shape=(None, None, 3))
    del images
    with pytest.raises(DataError, match="streets train has the shape|--data.image-size"):
        load(directory)
    found = load(directory, image_size=5).splits["train"].arrays["mask"]
    assert found.shape == (6, 5, 5) and set(np.unique(found)) <= {0, 100, 200}


def test_a_mask_of_another_size_is_named(write):
    masks = noise(6, (6, 4, 1)) % 3
    with pytest.raises(
        DataError, match=r"mask of example \d .* shape \(6, 4, 1\), expected \(6, 5"
    ):
        load(write(masks))


def test_without_masks(write_tfds, write):
    directory = write_tfds("pets", {"train": [(png(one), 0) for one in noise(3)]})
    with pytest.raises(DataError, match="pets has no mask of one channel, .* for segmentation"):
        load(directory, "pets")


def test_the_scenes_of_shapes_stand_in(tmp_path):
    dataset = load(tmp_path, name="auto", train="train[:2]")
    assert dataset.stand_in and dataset.title == "scenes of shapes 64x64 (stand-in for CamVid)"
    assert "mask" in dataset.spec
