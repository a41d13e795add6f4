import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import DataConfig, DataError, StreamSplit, load_dataset
from cnn_jax.data.folders import is_folder_name
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
    (folder / "train" / "red" / "notes.txt").write_text("not an image, and not taken for one")
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


@pytest.mark.parametrize("storage", ["device", "stream"])
def test_broken_files_can_be_left_out(folder, storage):
    whole = load(folder, storage=storage, skip_unreadable=True)
    assert not whole.notes
    empty, torn = folder / "train" / "red" / "3.png", folder / "val" / "blue" / "1.png"
    empty.write_bytes(b"")
    torn.write_bytes(torn.read_bytes()[:40])
    dataset = load(folder, storage=storage, skip_unreadable=True)
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
    (other / "images").mkdir()
    with pytest.raises(DataError, match=r"has no folder 'train': .* found images"):
        load(other)
    (other / "train").mkdir()
    with pytest.raises(DataError, match="train has no folders, expected one for each class"):
        load(other)
    (other / "train" / "cat").mkdir()
    with pytest.raises(DataError, match=r"class folder .*cat holds no images"):
        load(other)
    (folder / "val" / "yellow").mkdir()
    with pytest.raises(DataError, match="val has the classes yellow, which are not in train"):
        load(folder)


def test_paths_and_names_are_told_apart(folder, monkeypatch):
    assert is_folder_name(str(folder)) and is_folder_name("./here") and is_folder_name("~/here")
    assert not is_folder_name("cifar10") and not is_folder_name("emnist/letters")
    monkeypatch.chdir(folder)
    assert is_folder_name("train/red") and not is_folder_name("train")
