import threading

import pytest

from cnn_jax.data import DataConfig, DataError, load_dataset, random_crop, random_flip
from tests.data.conftest import noise, png


@pytest.fixture
def no_network(monkeypatch):
    def unreachable(*arguments, **options):
        raise OSError("no network in this test")

    monkeypatch.setattr("socket.getaddrinfo", unreachable)
    monkeypatch.setattr("socket.create_connection", unreachable)


def test_without_data_and_network_the_digits_stand_in(no_network, tmp_path):
    dataset = load_dataset(
        DataConfig(dir=str(tmp_path)), default="cifar10", augment=[random_crop(), random_flip()]
    )
    assert dataset.stand_in
    assert dataset.name == "digits"
    assert dataset.title == "handwritten digits 8x8 (stand-in for CIFAR-10)"
    assert "TFDS_DATA_DIR" in dataset.notes[0] and str(tmp_path) in dataset.notes[0]
    assert dataset.augment == (random_crop(1),)
    assert list(tmp_path.iterdir()) == []


def test_a_silent_network_is_found_out_in_seconds(monkeypatch, tmp_path):
    end = threading.Event()

    def hang(*arguments, **options):
        end.wait(60)
        raise OSError

    monkeypatch.setattr("socket.getaddrinfo", hang)
    assert load_dataset(DataConfig(dir=str(tmp_path)), default="mnist").stand_in
    assert not end.is_set()  # it did not wait for the look-up
    end.set()


def test_what_is_prepared_is_taken(no_network, write_tfds):
    examples = [(png(image), 0) for image in noise(20)]
    directory = write_tfds("cifar10", {"train": examples}, version="3.0.2")
    dataset = load_dataset(DataConfig(dir=str(directory)), default="cifar10")
    assert (dataset.name, dataset.stand_in) == ("cifar10", False)
    assert dataset.title == "CIFAR-10"


def test_a_failed_download_falls_back_and_says_why(monkeypatch, tmp_path):
    def fail(name, directory):
        raise DataError("the disk is full")

    monkeypatch.setattr("cnn_jax.data.load.within_reach", lambda name, directory: True)
    monkeypatch.setattr("cnn_jax.data.load.write_tfds", fail)
    dataset = load_dataset(DataConfig(dir=str(tmp_path)), default="cifar10")
    assert dataset.stand_in and "the disk is full" in dataset.notes[0]


def test_a_data_set_asked_for_by_name_is_never_replaced(no_network, tmp_path):
    with pytest.raises(DataError) as error:
        load_dataset(DataConfig(name="cifar10", dir=str(tmp_path)), default="cifar10")
    message = str(error.value)
    assert "cifar10 is not prepared under" in message and "www.cs.toronto.edu" in message
    assert "TFDS_DATA_DIR or --data.dir" in message


def test_digits_as_the_lectures_own_data_set_are_no_stand_in(tmp_path):
    dataset = load_dataset(DataConfig(dir=str(tmp_path)), default="digits")
    assert not dataset.stand_in and dataset.title == "handwritten digits 8x8"
