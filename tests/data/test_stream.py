import os
import subprocess
import sys
import threading
import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.data import (
    ArraySplit,
    DataConfig,
    DataError,
    StreamSplit,
    epoch_order,
    load_dataset,
    stream,
)
from cnn_jax.data.errors import UnreadableWarning
from cnn_jax.data.examples import image_and_label
from cnn_jax.data.stream import stream_batches
from cnn_jax.errors import UserError
from tests.data.conftest import noise, png


class Numbers:
    """Examples that say which one they are."""

    spec = image_and_label((2, 2, 1))

    def __len__(self):
        return 100

    def __getitem__(self, index):
        return {"image": np.full((2, 2, 1), index, np.uint8), "label": np.int32(index % 10)}

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
        "slot": "int32",
        "place": "int32",
        "weight": "float32",
    }
    assert first["image"].shape == (8, 2, 2, 1)
    assert np.array_equal(first["label"], first["image"][:, 0, 0, 0] % 10)
    assert first["slot"].tolist() == list(range(8))
    assert first["place"].tolist() == epoch_order(5, 0, 23)[:8].tolist()
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
    assert np.concatenate([batch["place"] for batch in batches]).tolist() == [*range(23), -1]
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
    assert equal(take(7, replace(split, workers=2), start_step=1), here)
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
            assert np.array_equal(array[index]["image"], stream[index]["image"])
            assert array[index]["label"] == stream[index]["label"]
    config = DataConfig("pets", str(directory), "train+test", "none", "none", storage="stream")
    with pytest.raises(DataError, match="test and train are joined, which is not supported"):
        load_dataset(config, default="cifar10")


@pytest.mark.parametrize("seed", [5, None])
def test_a_stream_of_any_entries_gives_the_batches_of_the_arrays(seed):
    n = 21
    arrays = {
        "image": noise(n),
        "mask": noise(n, (6, 5)),
        "boxes": np.random.default_rng(0).uniform(0, 5, (n, 3, 4)).astype(np.float32),
        "tokens": np.arange(4 * n, dtype=np.int32).reshape(n, 4),
    }
    split = ArraySplit(arrays)
    stream = stream_batches(StreamSplit(split, np.arange(n)), seed=seed, batch_size=8)
    order = split.evaluation_order(8) if seed is None else split.order(seed, 0, 8)
    for start in range(0, len(order), 8):
        batch, places = next(stream), order[start : start + 8]
        assert batch.keys() == arrays.keys() | {"slot", "place", "weight"}
        assert np.array_equal(batch["place"], places)
        assert np.array_equal(batch["weight"], places >= 0)
        resident = jax.jit(split.take)(split.arrays, jnp.asarray(places[places >= 0]))
        for name, values in resident.items():
            assert np.array_equal(batch[name][places >= 0], values)
            assert batch[name].dtype == values.dtype and not batch[name][places < 0].any()


def test_all_splits_decode_with_the_workers_that_are_asked_for(write_tfds):
    directory = write_tfds("pets", {"train": [(png(image), 0) for image in noise(25)]})
    config = DataConfig("pets", str(directory), storage="stream", workers=3)
    splits = load_dataset(config, default="cifar10").splits
    assert {name: split.workers for name, split in splits.items()} == {
        "train": 3,
        "validation": 3,
    }


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


def some_broken(tmp_path, **options):
    """A streamed split of two classes with three images each, of which one is empty."""
    for name in ("a", "b"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for number in range(3):
            content = b"" if (name, number) == ("b", 1) else png(noise(1)[0])
            (tmp_path / "train" / name / f"{number}.png").write_bytes(content)
    config = DataConfig(str(tmp_path), storage="stream", validation="none", image_size=4, **options)
    return load_dataset(config, default="cifar10").splits["train"]


@pytest.mark.parametrize("seed", [5, None])
def test_what_cannot_be_read_has_no_weight(tmp_path, seed):
    with pytest.raises(
        DataError, match=r"b/1.png .* it is empty\n.*--data.skip-unreadable"
    ) as caught:
        take(1, some_broken(tmp_path), batch_size=6)
    assert not hasattr(caught.value, "__notes__")  # Grain's, about its traceback
    split = replace(some_broken(tmp_path / "again"), skip_unreadable=True)
    with pytest.warns(UnreadableWarning, match=r"b/1.png cannot be read: it is empty; it is left"):
        (batch,) = take(1, split, batch_size=6, seed=seed)
    (left_out,) = np.flatnonzero(batch["weight"] == 0)
    assert split.examples.paths[split.indices[batch["place"][left_out]]].match("b/1.png")
    # The content of another one, which the statistics of BatchNorm can do with.
    assert any(
        np.array_equal(batch["image"][left_out], batch["image"][row])
        for row in range(6)
        if row != left_out
    )


class Failing(Numbers):
    """Examples that cannot be read a few times."""

    def __init__(self, error, times):
        self.error, self.times = error, times

    def __getitem__(self, index):
        if self.times:
            self.times -= 1
            raise self.error
        return super().__getitem__(index)


def test_a_read_that_fails_is_tried_again(monkeypatch):
    monkeypatch.setattr(stream, "_WAITS", (0, 0))
    whole = take(2, numbers())
    for times, error in ((2, OSError(5, "Input/output error")), (0, None)):
        assert equal(take(2, StreamSplit(Failing(error, times), np.arange(23))), whole)
    with pytest.raises(OSError, match="Input/output error"):
        take(1, StreamSplit(Failing(OSError(5, "Input/output error"), 3), np.arange(23)))
    with pytest.raises(FileNotFoundError):  # which does not pass
        take(1, StreamSplit(Failing(FileNotFoundError(2, "gone"), 1), np.arange(23)))


def test_a_worker_that_is_killed_is_told(monkeypatch):
    class Reader:
        """Grain's, when the system has killed a worker."""

        def __iter__(self):
            raise RuntimeError("Worker process was terminated unexpectedly with exit code -9. …")

        def close(self):
            pass

    with pytest.raises(DataError, match=r"has ended \(exit status -9; .* fewer --data.workers"):
        next(stream._until_closed(Reader(), 1))


def test_no_shared_memory_is_left_by_a_program_that_ends(tmp_path):
    program = """
import numpy as np
from cnn_jax.data import StreamSplit, stream_batches
from tests.data.test_stream import Numbers

if __name__ == "__main__":
    split = StreamSplit(Numbers(), np.arange(23), workers=1)
    batches = stream_batches(split, seed=0, batch_size=8)
    next(batches)
    assert len(list(stream_batches(split, seed=None, batch_size=8))) == 3
"""
    (tmp_path / "program.py").write_text(program)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, tmp_path / "program.py"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "leaked" not in ended.stderr


@pytest.mark.usefixtures("no_shape_hook")
def test_wrong_arguments_are_named(monkeypatch):
    with pytest.raises(ValueError, match="batch_size=8 is not divisible by 3 processes"):
        stream_batches(numbers(), seed=0, batch_size=8, process_count=3)
    with pytest.raises(ValueError, match="batch_size=24 is larger than the split of 23 examples"):
        stream_batches(numbers(), seed=0, batch_size=24)
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(UserError, match=r"data.storage but device\) needs grain.*cnn-jax\[data\]"):
        stream_batches(numbers(), seed=0, batch_size=8)


@pytest.mark.full
def test_workers_end_with_a_killed_training(write_tfds):
    directory = write_tfds("pets", {"train": [(png(image), 0) for image in noise(25)]})
    program = f"""
import multiprocessing, time
from cnn_jax.data import DataConfig, load_dataset, stream_batches

if __name__ == "__main__":
    config = DataConfig("pets", {str(directory)!r}, validation="none", storage="stream", workers=1)
    split = load_dataset(config, default="cifar10").splits["train"]
    batches = stream_batches(split, seed=0, batch_size=8)
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


@pytest.mark.parametrize("workers", [0, 1])
def test_the_end_of_a_program_waits_for_workers_that_are_still_closing(monkeypatch, workers):
    stalled = threading.Event()

    class Reader:
        closed = False

        def __iter__(self):
            yield {}

        def close(self):
            stalled.wait(0.5 if workers else 60)
            self.closed = True

    monkeypatch.setattr(stream, "CLOSING_SECONDS", 0.01)
    monkeypatch.setattr(stream, "_closing", [])
    reader = Reader()
    batches = stream._closed_at_exit(reader, workers)
    next(batches)
    batches.close()
    assert not reader.closed
    stream._close_all()
    assert reader.closed == bool(workers)  # a stalled read of this process holds up nothing
    stalled.set()


def test_workers_without_a_stream_are_refused():
    with pytest.raises(DataError, match="--data.workers 3 are for a stream, and handwritten"):
        load_dataset(DataConfig("digits", workers=3), default="digits")
