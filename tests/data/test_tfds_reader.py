import json
import subprocess
import sys

import numpy as np
import pytest

from cnn_jax.data import DataConfig, DataError, load_dataset
from cnn_jax.data.tfds_reader import find_prepared, prepared_names, tfds_directory
from cnn_jax.errors import UserError
from tests.data.conftest import claim_fewer_classes, noise, png


def pairs(images, labels=None):
    labels = np.arange(len(images)) % 3 if labels is None else labels
    return [(png(image), int(label)) for image, label in zip(images, labels, strict=True)]


def load(directory, name="pets", **options):
    return load_dataset(DataConfig(name=name, dir=str(directory), **options), default="cifar10")


def as_set(split):
    return sorted(
        (image.tobytes(), int(label))
        for image, label in zip(split.arrays["image"], split.arrays["label"], strict=True)
    )


def test_images_labels_and_classes(write_tfds):
    images = noise(20)
    directory = write_tfds("pets", {"train": pairs(images), "test": pairs(images[:5])})
    dataset = load(directory)
    assert (dataset.name, dataset.title) == ("pets", "pets")
    assert dataset.class_names == ("cat", "dog", "bird")
    assert dataset.image_shape == (6, 5, 3)
    assert {role: len(split) for role, split in dataset.splits.items()} == {
        "train": 18,
        "validation": 2,
        "test": 5,
    }
    train, validation = dataset.splits["train"], dataset.splits["validation"]
    assert train.arrays["image"].dtype == np.uint8 and train.arrays["label"].dtype == np.int32
    stored = sorted((image.tobytes(), number % 3) for number, image in enumerate(images))
    assert sorted(as_set(train) + as_set(validation)) == stored


def test_split_expressions_read_what_tfds_reads(write_tfds):
    tfds = pytest.importorskip("tensorflow_datasets")
    directory = write_tfds("pets", {"train": pairs(noise(30)), "test": pairs(noise(9, seed=1))})
    builder = tfds.builder_from_directory(directory / "pets" / "1.0.0")
    for expression in ("train[:90%]", "train[-7:]", "train[10%:50%]+test[:2]"):
        split = load(directory, train=expression, validation="none", test="none").splits["train"]
        expected = list(builder.as_data_source(split=expression))
        assert split.arrays["label"].tolist() == [one["label"] for one in expected]
        assert np.array_equal(split.arrays["image"], np.stack([one["image"] for one in expected]))


def test_grey_images_and_other_sizes(write_tfds):
    grey = noise(6, (8, 8, 1))
    directory = write_tfds("marks", {"train": pairs(grey)}, shape=(8, 8, 1))
    assert load(directory, "marks", validation="none").image_shape == (8, 8, 1)
    resized = load(directory, "marks", validation="none", image_size=4)
    assert resized.splits["train"].arrays["image"].shape == (6, 4, 4, 1)


def test_images_that_differ_in_size_need_one(write_tfds):
    mixed = [(png(noise(1, (6 + i, 9, 3))[0]), 0) for i in range(4)]
    directory = write_tfds("mixed", {"train": mixed}, shape=(None, None, 3))
    with pytest.raises(DataError, match=r"mixed differ in size: set one size with --data.image"):
        load(directory, "mixed", validation="none")
    dataset = load(directory, "mixed", validation="none", image_size=7)
    assert dataset.splits["train"].arrays["image"].shape == (4, 7, 7, 3)


def test_the_newest_version_is_taken_and_others_can_be_named(write_tfds):
    write_tfds("pets", {"train": pairs(noise(3))}, version="1.9.0")
    directory = write_tfds("pets", {"train": pairs(noise(4))}, version="1.10.0")
    assert len(load(directory, validation="none").splits["train"]) == 4
    assert len(load(directory, "pets:1.9.0", validation="none").splits["train"]) == 3
    assert find_prepared("pets:2.0.0", directory) is None
    assert prepared_names(directory) == ["pets"]


def test_45k_of_cifar10_are_known_as_such(write_tfds, monkeypatch):
    directory = write_tfds(
        "cifar10", {"train": pairs(noise(45)), "test": pairs(noise(5))}, version="3.0.2"
    )
    monkeypatch.setattr(
        "cnn_jax.data.tfds_reader.CIFAR10_45K_5K", {"train": 45, "test": 5}, raising=True
    )
    dataset = load(directory, "cifar10")
    assert dataset.title == "CIFAR-10 45k/5k"
    assert {role: len(split) for role, split in dataset.splits.items()} == {
        "train": 45,
        "validation": 5,
    }
    assert "official test images are missing" in dataset.notes[0]
    explicit = load(directory, "cifar10", train="train[:30]", validation="train[30:]", test="test")
    assert [len(split) for split in explicit.splits.values()] == [30, 15, 5]


def test_where_data_sets_lie(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "variable"))
    assert tfds_directory("") == tmp_path / "variable"
    assert tfds_directory(str(tmp_path)) == tmp_path
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tfds_directory("") == tmp_path / "tensorflow_datasets"


def test_unknown_data_set(write_tfds):
    directory = write_tfds("pets", {"train": pairs(noise(3))})
    with pytest.raises(DataError) as error:
        load(directory, "pest")
    message = str(error.value)
    assert "no data set 'pest' under" in message and "did you mean pets" in message
    assert "Prepared there: pets" in message and "--data.dir" in message
    with pytest.raises(DataError, match="did you mean cifar10"):
        load(directory, "cifr10")
    with pytest.raises(DataError, match="did you mean fashion_mnist"):
        load(directory, "Fashion-MNIST")


def test_unknown_split(write_tfds):
    directory = write_tfds("pets", {"train": pairs(noise(3)), "test": pairs(noise(2))})
    with pytest.raises(DataError, match=r"unknown split 'tets' \(did you mean 'test'\?\)"):
        load(directory, test="tets")


@pytest.mark.parametrize("storage", ["device", "stream"])
def test_a_label_outside_the_classes_is_named(write_tfds, storage):
    labels = [0, 1, 0, 2, 1]
    directory = write_tfds("pets", {"train": pairs(noise(5), labels)})
    claim_fewer_classes(directory / "pets" / "1.0.0", 2)
    message = r"example \d of pets train has the label 2, outside the 2 classes 0..1"
    with pytest.raises(DataError, match=message):
        split = load(directory, validation="none", storage=storage).splits["train"]
        [split[index] for index in range(5)]


def test_a_broken_image_is_named(write_tfds):
    directory = write_tfds("pets", {"train": [(png(noise(1)[0]), 0), (b"nonsense", 1)]})
    with pytest.raises(DataError, match=r"the image of example \d of pets train cannot be decode"):
        load(directory, validation="none")


def test_an_image_of_another_size_is_named(write_tfds):
    odd = [(png(noise(1)[0]), 0), (png(noise(1, (6, 4, 3))[0]), 0)]
    directory = write_tfds("pets", {"train": odd})
    with pytest.raises(DataError, match=r"pets train has the shape \(6, 4, 3\), expected \(6, 5,"):
        load(directory, validation="none")


def test_a_data_set_without_classes(write_tfds):
    tfds = pytest.importorskip("tensorflow_datasets")
    number = tfds.features.Scalar(np.int64)
    directory = write_tfds("pets", {"train": pairs(noise(3))}, label=number)
    with pytest.raises(
        DataError,
        match=r"pets has no class label, .* its features are image .Image., label",
    ):
        load(directory)


def test_tfds_missing(write_tfds, monkeypatch):
    directory = write_tfds("pets", {"train": pairs(noise(3))})
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(UserError, match=r"pets needs tensorflow_datasets.*cnn-jax\[data\]"):
        load(directory)


def test_tensorflow_is_never_imported(write_tfds):
    directory = write_tfds("pets", {"train": pairs(noise(20))})
    program = (
        "import sys; from cnn_jax.data import DataConfig, load_dataset;"
        "assert 'tensorflow_datasets' not in sys.modules and 'grain' not in sys.modules;"
        f"config = DataConfig(name='pets', dir={str(directory)!r});"
        "assert len(load_dataset(config, default='cifar10').splits['train']) == 18;"
        "assert 'tensorflow_datasets' in sys.modules;"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("storage", ["device", "stream"])
def test_a_tenth_of_each_class_validates(write_tfds, storage):
    labels = np.arange(60) // 30  # TFDS shuffles the records, not the split that we make
    directory = write_tfds("pets", {"train": pairs(noise(60), labels)})
    validation = load(directory, storage=storage).splits["validation"]
    found = [int(validation[index]["label"]) for index in range(len(validation))]
    assert np.bincount(found).tolist() == [3, 3]
    other = load(directory, storage="device").splits["validation"]
    assert found == other.arrays["label"].tolist()


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A module that leaves a file behind when it is imported."""
    (tmp_path / "planted.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "ran"


LABEL = "tensorflow_datasets.core.features.class_label_feature.ClassLabel"


@pytest.mark.parametrize(
    "foreign",
    [
        {"pythonClassName": "planted.Feature"},
        {"python_class_name": "planted.Feature"},
        {"pythonClassName": LABEL, "jsonFeature": {"json": '{"type": "planted.Feature"}'}},
    ],
)
def test_features_import_no_foreign_module(write_tfds, planted, foreign):
    directory = write_tfds("pets", {"train": pairs(noise(3))})
    file = directory / "pets" / "1.0.0" / "features.json"
    text = json.loads(file.read_text())
    text["featuresDict"]["features"]["label"] = foreign
    file.write_text(json.dumps(text))
    with pytest.raises(DataError, match="names the class 'planted.Feature', .* is not run"):
        load(directory)
    assert not planted.exists()


@pytest.mark.parametrize("file", ["features.json", "dataset_info.json", "record"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "zeros"])
def test_a_broken_directory_is_named(write_tfds, file, damage):
    directory = write_tfds("pets", {"train": pairs(noise(3))}) / "pets" / "1.0.0"
    path = next(directory.glob("*array_record*")) if file == "record" else directory / file
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        size = len(whole) // 2
        path.write_bytes({"empty": b"", "cut": whole[:size], "zeros": bytes(len(whole))}[damage])
    expected = r"TFDS directory .*pets/1.0.0 cannot be read \(.*: remove it"
    if (file, damage) == ("dataset_info.json", "missing"):
        expected = "there is no data set 'pets'"
    with pytest.raises(DataError, match=expected):
        load(directory.parent.parent)
