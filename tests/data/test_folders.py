import os
import shutil

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import DataConfig, DataError, StreamSplit, load_dataset
from cnn_jax.data.folders import is_folder_name
from cnn_jax.data.image_files import FORMATS, SUFFIXES
from tests.data.conftest import noise, png


@pytest.fixture
def folder(tmp_path):
    """Three colours as classes, in images of different sizes."""
    colours = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}
    for split, count in (("train", 10), ("val", 2)):
        for name, colour in colours.items():
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(count):
                image = Image.new("RGB", (20 + number, 16), colour)
                image.save(tmp_path / split / name / f"{number}.png")
    return tmp_path


def load(folder, **options):
    options = {"image_size": 8, **options}
    return load_dataset(DataConfig(name=str(folder), **options), default="cifar10")


def test_classes_are_the_folders(folder):
    dataset = load(folder)
    assert dataset.class_names == ("blue", "green", "red")
    assert dataset.title == folder.name
    assert dataset.image_shape == (8, 8, 3)
    assert {role: len(split) for role, split in dataset.splits.items()} == {
        "train": 30,
        "validation": 6,
    }
    for split in dataset.splits.values():
        # The bright channel tells the class: 0 is blue, the last channel.
        assert np.array_equal(2 - split.arrays["image"][:, 4, 4].argmax(-1), split.arrays["label"])


def test_a_part_holds_all_classes(folder):
    dataset = load(folder, train="train[:50%]", validation="val")
    assert len(dataset.splits["train"]) == 15
    assert set(dataset.splits["train"].arrays["label"].tolist()) == {0, 1, 2}


def test_one_size_needs_no_resizing(tmp_path):
    (tmp_path / "train" / "a").mkdir(parents=True)
    images = noise(11)
    for number, image in enumerate(images):
        (tmp_path / "train" / "a" / f"{number}.png").write_bytes(png(image))
    dataset = load(tmp_path, image_size=0)
    assert dataset.image_shape == (6, 5, 3)
    assert [len(split) for split in dataset.splits.values()] == [10, 1]
    (tmp_path / "train" / "a" / "odd.png").write_bytes(png(noise(1, (6, 9, 3))[0]))
    with pytest.raises(DataError, match=r"odd.png has the shape \(6, 9, 3\), expected \(6, 5, 3"):
        load(tmp_path, image_size=0)


def test_grey_and_cmyk_become_rgb(folder):
    Image.new("L", (9, 9), 7).save(folder / "train" / "red" / "grey.jpg")
    Image.new("CMYK", (9, 9), (0, 0, 0, 0)).save(folder / "train" / "red" / "print.jpeg")
    (folder / "train" / "red" / "._0.png").write_bytes(b"hidden")
    assert len(load(folder).splits["train"]) == 32


def test_broken_files_are_all_named(folder):
    empty, torn = folder / "train" / "red" / "3.png", folder / "train" / "blue" / "4.png"
    empty.write_bytes(b"")
    torn.write_bytes(torn.read_bytes()[:40])
    with pytest.raises(DataError) as error:
        load(folder)
    message = str(error.value)
    assert "2 examples cannot be used" in message
    assert f"the image file {empty} cannot be read: it is empty" in message
    assert f"the image file {torn} cannot be read" in message
    assert message.endswith("or leave them out with --data.skip-unreadable")


def test_broken_files_can_be_left_out(folder):
    whole = load(folder, skip_unreadable=True)
    assert not whole.notes
    empty, torn = folder / "train" / "red" / "3.png", folder / "val" / "blue" / "1.png"
    empty.write_bytes(b"")
    torn.write_bytes(torn.read_bytes()[:40])
    dataset = load(folder, skip_unreadable=True)
    for name, split in dataset.splits.items():
        assert len(split) == len(whole.splits[name]) - 1
        assert len([split[index] for index in range(len(split))]) == len(split)
    assert "2 files are left out" in dataset.notes[0]
    assert str(empty) in dataset.notes[0] and str(torn) in dataset.notes[0]


def test_at_most_ten_broken_files_are_listed(folder):
    for name in ("blue", "red"):
        for path in (folder / "train" / name).iterdir():
            path.write_bytes(b"")
    with pytest.raises(DataError) as error:
        load(folder)
    assert str(error.value).count("it is empty") == 10
    assert "… and 10 more" in str(error.value)


def test_a_broken_file_in_a_stream_is_named_when_it_is_read(folder):
    for path in (folder / "train" / "red").iterdir():
        path.write_bytes(b"")
    split = load(folder, storage="stream").splits["train"]
    with pytest.raises(DataError, match=r"red/.*.png cannot be read: it is empty"):
        [split[index] for index in range(len(split))]


def test_large_folders_are_streamed(folder, monkeypatch):
    monkeypatch.setattr("cnn_jax.data.prepare.DEVICE_BYTES", (8 * 8 * 3 + 4) * 36)
    dataset = load(folder)
    assert isinstance(dataset.splits["train"], StreamSplit)
    assert dataset.mean == (0.485, 0.456, 0.406)
    assert not isinstance(load(folder, storage="device").splits["train"], StreamSplit)
    monkeypatch.setattr("cnn_jax.data.prepare.DEVICE_BYTES", (8 * 8 * 3 + 4) * 36 + 1)
    assert not isinstance(load(folder).splits["train"], StreamSplit)


def test_layout_errors(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    with pytest.raises(DataError, match=r"there is no folder .*/nowhere"):
        load(other / "nowhere")
    with pytest.raises(DataError, match=r"has no folders, one for each class: expected train"):
        load(other)
    (other / "photos" / "cat").mkdir(parents=True)
    with pytest.raises(DataError, match="has the folder 'photos' alone: give the path .*/photos"):
        load(other)
    shutil.rmtree(other / "photos")
    (other / "train").mkdir()
    with pytest.raises(DataError, match=r"class folder .*/train holds no images: expected"):
        load(other)
    (other / "train" / "cat").mkdir()
    with pytest.raises(DataError, match=r"class folder .*cat holds no images: expected .*\.jpg"):
        load(other)
    (other / "train" / "cat" / "cat.txt").write_text("")
    with pytest.raises(DataError, match=r"cat holds no images, only cat.txt: expected"):
        load(other)


def test_every_format_is_read_at_any_depth(tmp_path):
    (tmp_path / "train" / "a" / "deep" / "er").mkdir(parents=True)
    (tmp_path / "train" / "b").mkdir()
    image = Image.new("RGB", (9, 9), (200, 100, 50))
    suffixes = sorted(SUFFIXES)
    for number, suffix in enumerate(suffixes):
        place = ("a", "a/deep", "a/deep/er", "b")[number % 4]
        kind = next(kind for kind, names in FORMATS.items() if suffix in names)
        image.save(tmp_path / "train" / place / f"{number}{suffix.upper()}", kind)
    dataset = load(tmp_path, validation="none")
    assert len(dataset.splits["train"]) == len(suffixes) and not dataset.notes
    assert {".tif", ".tiff", ".ppm", ".pgm", ".gif", ".jfif"} <= SUFFIXES


def test_what_is_not_read_is_counted_and_named(folder):
    (folder / "train" / "red" / "more").mkdir()
    for place in ("red/a.txt", "red/more/b.txt", "blue/c.psd", "blue/d", "loose.png"):
        (folder / "train" / place).write_text("")
    (folder / "train" / "red" / ".hidden").write_text("")
    (folder / "train" / "blue" / "link").symlink_to(folder / "train" / "red")
    (note,) = load(folder).notes
    assert note.startswith("files in class folders that are not read: 6 (")
    for part in (".txt 2", ".psd 1", "no suffix 2", ".png 1", "more/b.txt", "train/loose.png"):
        assert part in note
    assert ".hidden" not in note


@pytest.mark.skipif(os.geteuid() == 0, reason="root opens every folder")
def test_a_closed_folder_is_named(folder):
    (folder / "train" / "red" / "closed").mkdir(mode=0)
    assert "red/closed" in load(folder).notes[0]


def test_a_folder_with_one_split_is_enough_to_evaluate(folder):
    config = DataConfig(name=str(folder), image_size=8)
    whole = load_dataset(config, default="cifar10", only=["validation"])
    shutil.rmtree(folder / "train")
    alone = load_dataset(config, default="cifar10", only=["validation"])
    assert alone.splits.keys() == {"validation"} and alone.class_names == whole.class_names
    assert alone.image_shape == (8, 8, 3)
    for name, array in alone.splits["validation"].arrays.items():
        assert np.array_equal(array, whole.splits["validation"].arrays[name])
    with pytest.raises(DataError, match=r"no split named 'train', only val \(6\): choose one"):
        load(folder)
    with pytest.raises(DataError, match=r"no split for test, only val \(6\)"):
        load_dataset(config, default="cifar10", only=["test"])


@pytest.mark.parametrize("storage", ["device", "stream"])
def test_a_folder_of_classes_is_split(folder, storage):
    dataset = load(folder / "train", storage=storage)
    assert dataset.class_names == ("blue", "green", "red")
    labels = {
        name: [int(split[index]["label"]) for index in range(len(split))]
        for name, split in dataset.splits.items()
    }
    assert np.bincount(labels["train"]).tolist() == [9, 9, 9]
    assert np.bincount(labels["validation"]).tolist() == [1, 1, 1]
    device = load(folder / "train", storage="device").splits["validation"]
    assert labels["validation"] == device.arrays["label"].tolist()


def test_classes_may_be_called_like_splits(tmp_path):
    for name in ("bus", "car", "train"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (9, 9)).save(tmp_path / name / "1.png")
    assert load(tmp_path, validation="none").class_names == ("bus", "car", "train")


def test_splits_that_cannot_be_used_are_no_obstacle_if_they_are_not_used(folder):
    (folder / "test").mkdir()
    Image.new("RGB", (9, 9)).save(folder / "test" / "1.png")  # as competitions give them
    with pytest.raises(
        DataError, match=r"test has 1 images without a folder .*, set --data.test none"
    ):
        load(folder)
    assert load(folder, test="none").splits.keys() == {"train", "validation"}
    (folder / "val" / "yellow").mkdir()
    with pytest.raises(
        DataError, match=r"val has the classes yellow, .* blue, green, red. To .*validation none"
    ):
        load(folder, test="none")
    assert load(folder, test="none", validation="none").splits.keys() == {"train"}
    shutil.rmtree(folder / "val")
    (folder / "val").mkdir()
    with pytest.raises(DataError, match=r"val holds no images: .*\. To go .*validation none"):
        load(folder, test="none")
    held_out = load(folder, test="none", validation="train[-10%:]")
    assert {name: len(split) for name, split in held_out.splits.items()} == {
        "train": 27,
        "validation": 3,
    }


def test_pipes_are_refused(folder):
    os.mkfifo(folder / "train" / "red" / "pipe.png")
    with pytest.raises(DataError, match=r"pipe.png cannot be read: it is not a regular file"):
        load(folder)
    assert "pipe.png" in load(folder, skip_unreadable=True).notes[0]


def test_wordnet_ids_get_names(tmp_path):
    for name in ("n02102040", "n01440764", "n00000000"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (9, 9)).save(tmp_path / name / "1.png")
    dataset = load(tmp_path, validation="none")
    assert dataset.class_names == ("n00000000", "tench", "English springer")


def test_paths_and_names_are_told_apart(folder, monkeypatch):
    assert is_folder_name(str(folder)) and is_folder_name("./here") and is_folder_name("~/here")
    assert not is_folder_name("cifar10") and not is_folder_name("emnist/letters")
    monkeypatch.chdir(folder)
    assert is_folder_name("train/red") and not is_folder_name("train")
