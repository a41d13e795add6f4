"""The official archives are imitated in their own format and served by this machine."""

import gzip
import hashlib
import io
import struct
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from cnn_jax.data import DataConfig, DataError, load_dataset, tfds_writer
from cnn_jax.data.archives import OFFICIAL, read_idx
from cnn_jax.data.tfds_writer import write_tfds
from cnn_jax.download import PublishedFile
from tests.data.conftest import noise

TEN = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
HUNDRED = tuple(f"fine_{number}" for number in range(100))
TWENTY = tuple(f"coarse_{number}" for number in range(20))


def tar(members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def rows(labels, images):
    flat = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return np.concatenate([np.asarray(labels, np.uint8), flat], axis=1).tobytes()


def names(lines):
    return ("\n".join(lines) + "\n\n").encode()


def idx(values):
    return gzip.compress(
        struct.pack(">HBB", 0, 8, values.ndim)
        + struct.pack(f">{values.ndim}I", *values.shape)
        + values.astype(np.uint8).tobytes()
    )


def cifar10(images, labels):
    batches = {
        f"cifar-10-batches-bin/data_batch_{number + 1}.bin": rows(
            labels[number * 4 : number * 4 + 4, None], images[number * 4 : number * 4 + 4]
        )
        for number in range(5)
    }
    return {
        "cifar-10-binary.tar.gz": tar(
            batches
            | {
                "cifar-10-batches-bin/test_batch.bin": rows(labels[20:, None], images[20:]),
                "cifar-10-batches-bin/batches.meta.txt": names(TEN),
            }
        )
    }


def cifar100(images, labels):
    both = np.stack([labels // 5, labels], axis=1)
    return {
        "cifar-100-binary.tar.gz": tar(
            {
                "cifar-100-binary/train.bin": rows(both[:20], images[:20]),
                "cifar-100-binary/test.bin": rows(both[20:], images[20:]),
                "cifar-100-binary/fine_label_names.txt": names(HUNDRED),
                "cifar-100-binary/coarse_label_names.txt": names(TWENTY),
            }
        )
    }


def mnist(images, labels):
    return {
        "train-images-idx3-ubyte.gz": idx(images[:20, ..., 0]),
        "train-labels-idx1-ubyte.gz": idx(labels[:20]),
        "t10k-images-idx3-ubyte.gz": idx(images[20:, ..., 0]),
        "t10k-labels-idx1-ubyte.gz": idx(labels[20:]),
    }


@pytest.fixture
def publish(web_server, monkeypatch):
    """A function that puts files on the web as if they were the official archives of a name."""

    def publish(name, files):
        web_server.files |= files
        archives = tuple(
            PublishedFile(
                file, len(content), hashlib.sha256(content).hexdigest(), (web_server.address,)
            )
            for file, content in files.items()
        )
        small = replace(OFFICIAL[name], archives=archives, sizes={"train": 20, "test": 4})
        monkeypatch.setitem(OFFICIAL, name, small)

    return publish


def example_data(name):
    shape = OFFICIAL[name].image_shape
    labels = np.random.default_rng(1).integers(0, 100 if name == "cifar100" else 10, 24)
    return noise(24, shape), labels


@pytest.mark.parametrize(
    ("name", "imitate", "classes"),
    [
        ("cifar10", cifar10, TEN),
        ("cifar100", cifar100, HUNDRED),
        ("mnist", mnist, tuple("0123456789")),
        ("fashion_mnist", mnist, None),
    ],
)
def test_tfds_reads_it_as_its_own(name, imitate, classes, publish, tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    images, labels = example_data(name)
    publish(name, imitate(images, labels))
    path = write_tfds(name, tmp_path)
    assert path == tmp_path / name / OFFICIAL[name].version

    genuine = tfds.builder(name, data_dir=tmp_path)
    assert type(genuine).__module__.startswith("tensorflow_datasets.image_classification")
    assert genuine.info.splits["train"].num_examples == 20
    read = {}
    for split, first in (("train", 0), ("test", 20)):
        for example in genuine.as_data_source(split=split):
            number = next(
                number for number in range(24) if np.array_equal(images[number], example["image"])
            )
            assert example["label"] == labels[number]
            if OFFICIAL[name].has_id:
                assert example["id"].decode() == f"{split}_{number - first:05d}"
            if name == "cifar100":
                assert example["coarse_label"] == labels[number] // 5
            read[number] = split
    assert read == {number: "train" if number < 20 else "test" for number in range(24)}
    if classes:
        assert tuple(genuine.info.features["label"].names) == classes

    dataset = load_dataset(DataConfig(name=name, dir=str(tmp_path)), default="cifar10")
    assert [len(split) for split in dataset.splits.values()] == [18, 2, 4]
    assert dataset.image_shape == OFFICIAL[name].image_shape
    assert len(dataset.class_names) == (100 if name == "cifar100" else 10)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {name, "downloads"}
    assert [path.name for path in (tmp_path / "downloads").iterdir()] == [f"{name}.lock"]


def test_asked_for_by_name_it_is_downloaded(publish, tmp_path):
    publish("cifar10", cifar10(*example_data("cifar10")))
    dataset = load_dataset(DataConfig(name="cifar10", dir=str(tmp_path)), default="mnist")
    assert (dataset.title, dataset.stand_in, dataset.notes) == ("CIFAR-10", False, ())


def test_archives_can_be_brought_by_hand(publish, web_server, tmp_path):
    files = cifar10(*example_data("cifar10"))
    publish("cifar10", files)
    web_server.files.clear()
    with pytest.raises(DataError, match=r"put cifar-10-binary.tar.gz into .*downloads/cifar10"):
        write_tfds("cifar10", tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "downloads" / "cifar10").mkdir(parents=True)
    (tmp_path / "downloads/cifar10/cifar-10-binary.tar.gz").write_bytes(*files.values())
    assert write_tfds("cifar10", tmp_path).is_dir()


def test_it_is_written_once(publish, web_server, tmp_path):
    publish("mnist", mnist(*example_data("mnist")))
    path = write_tfds("mnist", tmp_path)
    before = {file: file.stat().st_mtime_ns for file in path.iterdir()}
    gets = [one for one in web_server.log if one[0] == "GET"]
    assert write_tfds("mnist", tmp_path) == path
    assert {file: file.stat().st_mtime_ns for file in path.iterdir()} == before
    assert [one for one in web_server.log if one[0] == "GET"] == gets


def test_interrupted_it_leaves_nothing_half_made(publish, tmp_path, monkeypatch):
    publish("cifar10", cifar10(*example_data("cifar10")))
    calls = []

    def fail(image):
        calls.append(image)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return encode_png(image)

    encode_png = tfds_writer.encode_png
    monkeypatch.setattr(tfds_writer, "encode_png", fail)
    with pytest.raises(KeyboardInterrupt):
        write_tfds("cifar10", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"downloads"}

    stale = tmp_path / ".preparing-cifar10-killed" / "cifar10"  # as kill -9 leaves it
    stale.mkdir(parents=True)
    assert write_tfds("cifar10", tmp_path).is_dir()
    assert not stale.exists()


def test_archives_of_another_length_are_refused(publish, tmp_path, monkeypatch):
    publish("cifar10", cifar10(*example_data("cifar10")))
    longer = replace(OFFICIAL["cifar10"], sizes={"train": 21, "test": 4})
    monkeypatch.setitem(OFFICIAL, "cifar10", longer)
    with pytest.raises(DataError, match=r"hold \{.*\} examples, expected \{'train': 21, "):
        write_tfds("cifar10", tmp_path)
    assert not (tmp_path / "cifar10").exists()


def test_files_in_another_format_are_named(publish, tmp_path):
    publish("cifar10", {"cifar-10-binary.tar.gz": tar({"cifar-10-batches-bin/other": b""})})
    with pytest.raises(DataError, match=r"cannot read .*batches.meta.txt"):
        write_tfds("cifar10", tmp_path)
    files = mnist(*example_data("mnist")) | {"train-images-idx3-ubyte.gz": gzip.compress(b"12345")}
    publish("mnist", files)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz is not an IDX file"):
        write_tfds("mnist", tmp_path)


def test_an_unwritable_directory_is_named(publish, tmp_path):
    publish("mnist", mnist(*example_data("mnist")))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match=r"cannot write mnist to .*file: Not a directory"):
        write_tfds("mnist", tmp_path / "file")


def test_idx(tmp_path):
    values = noise(3, (2, 4, 1))
    (tmp_path / "values").write_bytes(idx(values))
    assert np.array_equal(read_idx(tmp_path / "values"), values)


def test_the_official_archives_are_complete():
    for official in OFFICIAL.values():
        for archive in official.archives:
            assert len(archive.sha256) == 64 and archive.size > 0
            assert all(mirror.endswith("/") for mirror in archive.mirrors)
