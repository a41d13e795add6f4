import os
import subprocess
import sys
import time

import numpy as np
import pytest

from cnn_jax.data import DataConfig, DataError, StreamSplit, epoch_order, load_dataset
from cnn_jax.data.stream import stream_batches
from tests.data.conftest import noise, png


class Numbers:
    """Examples that say which one they are."""

    def __len__(self):
        return 100

    def __getitem__(self, index):
        return np.full((2, 2, 1), index, np.uint8), index % 10

    def __getitems__(self, indices):
        return [self[index] for index in indices]


def numbers(first=0, last=23):
    return StreamSplit(Numbers(), np.arange(first, last))


def take(count, split, **options):
    batches = stream_batches(split, **{"seed": 5, "batch_size": 8, **options})
    taken = [next(batches) for _ in range(count)]
    batches.close()
    return taken


def shown(batches):
    return [batch["image"][:, 0, 0, 0].tolist() for batch in batches]


def equal(one, other):
    return all(
        batch.keys() == again.keys()
        and all(np.array_equal(batch[name], again[name]) for name in batch)
        for batch, again in zip(one, other, strict=True)
    )


def test_training_batches_by_hand():
    batches = take(5, numbers(first=50, last=73))  # 23 examples: 2 steps an epoch, 7 left over
    orders = [epoch_order(5, epoch, 23) + 50 for epoch in range(3)]
    expected = [orders[0][:8], orders[0][8:16], orders[1][:8], orders[1][8:16], orders[2][:8]]
    assert shown(batches) == [order.tolist() for order in expected]
    first = batches[0]
    assert {name: array.dtype.name for name, array in first.items()} == {
        "image": "uint8",
        "label": "int32",
        "index": "int32",
        "example": "int32",
        "weight": "float32",
    }
    assert first["image"].shape == (8, 2, 2, 1)
    assert np.array_equal(first["label"], first["image"][:, 0, 0, 0] % 10)
    assert first["index"].tolist() == list(range(8))
    assert first["example"].tolist() == epoch_order(5, 0, 23)[:8].tolist()
    assert first["weight"].tolist() == [1] * 8


def test_any_step_can_be_the_first():
    whole = take(7, numbers())
    for start in (1, 2, 5):
        assert equal(take(7 - start, numbers(), start_step=start), whole[start:])
    far = take(1, numbers(), start_step=10_000_001)
    assert shown(far) == [epoch_order(5, 5_000_000, 23)[8:16].tolist()]


@pytest.mark.parametrize("hosts", [2, 4])
@pytest.mark.parametrize("seed", [5, None])
def test_hosts_get_contiguous_slices_of_the_same_batches(hosts, seed):
    whole = take(3, numbers(), seed=seed)
    parts = [
        take(3, numbers(), seed=seed, process_index=host, process_count=hosts)
        for host in range(hosts)
    ]
    joined = [
        {name: np.concatenate([part[step][name] for part in parts]) for name in whole[0]}
        for step in range(3)
    ]
    assert equal(joined, whole)


def test_evaluation_is_in_order_and_padded():
    batches = list(stream_batches(numbers(), seed=None, batch_size=8))
    assert len(batches) == 3
    weight = np.concatenate([batch["weight"] for batch in batches])
    assert weight.tolist() == [1] * 23 + [0]
    seen = np.concatenate([batch["image"][:, 0, 0, 0] for batch in batches])
    assert seen[weight > 0].tolist() == list(range(23))
    assert len(list(stream_batches(numbers(), seed=None, batch_size=8, start_step=2))) == 1
    # The second of two hosts may have nothing but padding in the last batch.
    last = list(
        stream_batches(numbers(last=19), seed=None, batch_size=8, process_index=1, process_count=2)
    )[-1]
    assert last["weight"].tolist() == [0] * 4 and last["image"].shape == (4, 2, 2, 1)


def test_worker_processes_change_nothing(write_tfds, capfd):
    examples = [(png(image), number % 3) for number, image in enumerate(noise(25))]
    directory = write_tfds("pets", {"train": examples})
    config = DataConfig(name="pets", dir=str(directory), validation="none", storage="stream")
    split = load_dataset(config, default="cifar10").splits["train"]
    assert isinstance(split, StreamSplit)
    here = take(7, split, start_step=1)
    assert equal(take(7, split, start_step=1, workers=2), here)
    assert "Error" not in capfd.readouterr().err


def test_streams_and_arrays_hold_the_same(write_tfds):
    examples = [(png(image), number % 3) for number, image in enumerate(noise(30))]
    directory = write_tfds("pets", {"train": examples, "test": examples[:4]})
    for train in ("train[20%:70%]", "train[:5]+train[20:25]"):
        splits = {}
        for storage in ("device", "stream"):
            config = DataConfig("pets", str(directory), train, "none", storage=storage)
            splits[storage] = load_dataset(config, default="cifar10").splits["train"]
        array, stream = splits["device"], splits["stream"]
        assert len(array) == len(stream)
        for index in range(len(array)):
            assert np.array_equal(array[index][0], stream[index][0])
            assert array[index][1] == stream[index][1]
    config = DataConfig("pets", str(directory), "train+test", "none", "none", storage="stream")
    with pytest.raises(DataError, match="joins several splits, which a stream cannot"):
        load_dataset(config, default="cifar10")


def test_an_unreadable_example_stops_the_stream(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for number in range(6):
            content = png(noise(1)[0]) if name == "a" else b""
            (tmp_path / "train" / name / f"{number}.png").write_bytes(content)
    config = DataConfig(str(tmp_path), storage="stream", validation="none", image_size=4)
    split = load_dataset(config, default="cifar10").splits["train"]
    with pytest.raises(DataError, match=r"train/b/\d.png cannot be read: it is empty"):
        take(1, split, batch_size=12)


@pytest.mark.usefixtures("no_shape_hook")
def test_wrong_arguments_are_named(monkeypatch):
    with pytest.raises(ValueError, match="batch_size=8 does not divide over 3 processes"):
        stream_batches(numbers(), seed=0, batch_size=8, process_count=3)
    with pytest.raises(ValueError, match="batch_size=24 is more than the 23 examples"):
        stream_batches(numbers(), seed=0, batch_size=24)
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(DataError, match=r"needs the package grain.*--data.storage device"):
        stream_batches(numbers(), seed=0, batch_size=8)


@pytest.mark.full
def test_workers_end_with_a_killed_training(write_tfds):
    directory = write_tfds("pets", {"train": [(png(image), 0) for image in noise(25)]})
    program = f"""
import multiprocessing, time
from cnn_jax.data import DataConfig, load_dataset, stream_batches

if __name__ == "__main__":
    config = DataConfig("pets", {str(directory)!r}, validation="none", storage="stream")
    split = load_dataset(config, default="cifar10").splits["train"]
    batches = stream_batches(split, seed=0, batch_size=8, workers=1)
    next(batches)
    print(multiprocessing.active_children()[0].pid, flush=True)
    time.sleep(600)
"""
    file = directory / "program.py"
    file.write_text(program)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    training = subprocess.Popen([sys.executable, file], stdout=subprocess.PIPE, env=environment)
    worker = int(training.stdout.readline())
    training.kill()
    training.wait()
    with pytest.raises(ProcessLookupError):
        for _ in range(300):
            os.kill(worker, 0)
            time.sleep(0.1)
