from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import (
    DataConfig,
    DataError,
    load_dataset,
    random_flip,
    random_resized_crop,
    stream_batches,
)
from cnn_jax.data.random_part import part, random_part
from tests.data.conftest import noise, png


@pytest.mark.parametrize(("height", "width"), [(60, 90), (90, 60)])
def test_parts_lie_within_the_image_and_have_the_shapes_that_are_allowed(height, width):
    crop = random_resized_crop(scale=(0.1, 0.5), ratio=(1 / 2, 2))
    parts = [part(crop, (3, number), height, width) for number in range(500)]
    for top, left, part_height, part_width in parts:
        assert 0 <= top <= height - part_height and 0 <= left <= width - part_width
        assert part_height >= 1 and part_width >= 1
        # Both sides are rounded to pixels.
        assert (part_width - 0.5) / (part_height + 0.5) < 2
        assert (part_width + 0.5) / (part_height - 0.5) > 1 / 2
    assert len(set(parts)) > 450
    areas = np.array([p[2] * p[3] for p in parts]) / (height * width)
    assert areas.min() < 0.12 and areas.max() > 0.48
    # Uniform between 0.1 and 0.5; the standard error of the mean is 0.005.
    assert abs(areas.mean() - 0.3) < 0.02


def test_an_image_of_no_allowed_shape_gives_its_middle():
    crop = random_resized_crop(scale=(1.0, 1.0), ratio=(3 / 4, 4 / 3))
    assert part(crop, (0,), 10, 100) == (0, 43, 10, 13)
    assert part(crop, (0,), 100, 10) == (43, 0, 13, 10)


def test_a_part_is_cut_and_then_resized():
    image = Image.fromarray(noise(1, (40, 50, 3))[0])
    crop = random_resized_crop(size=(8, 6))
    top, left, height, width = part(crop, (1, 2), 40, 50)
    cut = Image.fromarray(np.asarray(image)[top : top + height, left : left + width])
    expected = np.asarray(cut.resize((6, 8), Image.Resampling.BILINEAR))
    assert np.array_equal(np.asarray(random_part(crop, (1, 2))(image)), expected)
    assert expected.shape == (8, 6, 3)


@pytest.fixture
def folder(tmp_path):
    """Images of different sizes; red grows to the right, so that a part's place shows."""
    for name in ("a", "b"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for number in range(6):
            image = np.zeros((20, 30 + number, 3), np.uint8)
            image[..., 0] = np.linspace(0, 255, 30 + number).astype(np.uint8)
            (tmp_path / "train" / name / f"{number}.png").write_bytes(png(image))
    return tmp_path


def load(folder, **options):
    splits = {"train": "train[3:]", "validation": "train[:3]"}
    config = DataConfig(name=str(folder), image_size=8, **splits, **options)
    return load_dataset(config, default="cifar10", augment=[random_resized_crop(), random_flip()])


def batches(split, count, **options):
    stream = stream_batches(split, batch_size=4, **options)
    found = [next(stream)["image"] for _ in range(count)]
    stream.close()
    return found


def test_a_stream_cuts_whole_images_and_leaves_the_rest_to_the_device(folder):
    dataset = load(folder, storage="stream")
    assert dataset.augment == (random_flip(),)
    split = dataset.splits["train"]
    assert split.random_crop.size == (8, 8)
    training = batches(split, 3, seed=0)
    assert all(images.shape == (4, 8, 8, 3) for images in training)
    # The centre square of an image at least 30 wide and 20 high never shows its left fifth.
    assert min(images[..., 0].min() for images in training) < 0.15 * 255
    evaluation = batches(dataset.splits["validation"], 1, seed=None)[0]
    assert evaluation[:3, ..., 0].min() > 0.15 * 255
    squares = load(folder, storage="device")
    assert squares.augment == (random_resized_crop(), random_flip())
    assert np.array_equal(evaluation[:3], squares.splits["validation"].arrays["image"])


def test_parts_depend_on_seed_step_and_place_alone(folder):
    split = load(folder, storage="stream").splits["train"]
    whole = batches(split, 4, seed=5)
    assert np.array_equal(batches(split, 2, seed=5, start_step=2), whole[2:])
    hosts = [batches(split, 4, seed=5, process_index=i, process_count=2) for i in range(2)]
    assert np.array_equal(np.concatenate(hosts, axis=1), whole)
    assert not np.array_equal(batches(split, 4, seed=6), whole)
    assert np.array_equal(batches(replace(split, workers=2), 4, seed=5), whole)
    # The second epoch sees other parts of the same images.
    assert len({image.tobytes() for image in np.concatenate(whole)}) == 16


def test_the_shorter_side_is_no_smaller_than_the_square(folder):
    larger = load(folder, resize=16, storage="device").splits["validation"].arrays["image"]
    assert larger.shape == (3, 8, 8, 3)
    # A square of half the height holds half of the range of reds.
    full = load(folder, storage="device").splits["validation"].arrays["image"]
    assert 1.5 < np.ptp(full[..., 0]) / np.ptp(larger[..., 0]) < 2.5
    with pytest.raises(DataError, match="--data.resize 4 .* --data.image-size 8"):
        load(folder, resize=4)
