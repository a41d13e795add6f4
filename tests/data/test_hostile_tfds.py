"""TFDS directories that are broken or lie end in one message, soon."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cnn_jax.data import DataConfig, load_dataset
from cnn_jax.data.errors import DataError
from tests.data.conftest import noise, png
from tests.limits import within

Damage = Callable[[Path], Any]


def edited(file: str, edit: Callable[[Any], Any]) -> Damage:
    """Changes a JSON file."""

    def damage(folder: Path) -> None:
        content = json.loads((folder / file).read_text())
        edit(content)
        (folder / file).write_text(json.dumps(content))

    return damage


def train(**changes: Any) -> Damage:
    return edited("dataset_info.json", lambda info: info["splits"][0].update(changes))


def image(**changes: Any) -> Damage:
    return edited(
        "features.json",
        lambda all: all["featuresDict"]["features"]["image"]["image"].update(changes),
    )


def shape(*dimensions: int) -> Damage:
    return image(shape={"dimensions": [str(size) for size in dimensions]})


def classes(number: int, *, named: bool) -> Damage:
    def damage(folder: Path) -> None:
        names = folder / "label.labels.txt"
        if named:
            names.write_text("\n".join(map(str, range(number))))
        else:
            names.unlink()
            edited(
                "features.json",
                lambda all: all["featuresDict"]["features"]["label"]["classLabel"].update(
                    numClasses=str(number)
                ),
            )(folder)

    return damage


def replaced(pattern: str, make: Callable[[Path], Any]) -> Damage:
    def damage(folder: Path) -> None:
        file = next(folder.glob(pattern))
        file.unlink()
        make(file)

    return damage


FILES = ("features.json", "dataset_info.json", "label.labels.txt", "*train.array_record*")
DAMAGES: dict[str, Damage] = {
    **{f"{file} is a pipe": replaced(file, os.mkfifo) for file in FILES},
    **{
        f"{file} is a device": replaced(file, lambda path: path.symlink_to("/dev/zero"))
        for file in FILES
    },
    **{
        f"{file} is {text:.9}": replaced(file, lambda path, text=text: path.write_text(text))
        for file in ("features.json", "dataset_info.json")
        for text in ("{}", "[]", "null", "[" * 100_000)
    },
    "records are a folder": replaced("*train.array_record*", Path.mkdir),
    "records are noise": replaced(
        "*train.array_record*", lambda path: path.write_bytes(os.urandom(70_000))
    ),
    "records of another split": lambda folder: shutil.copy(
        next(folder.glob("*test.array_record*")), next(folder.glob("*train.array_record*"))
    ),
    "too many examples": train(shardLengths=["3000"]),
    "10**12 examples": train(shardLengths=[str(10**12)]),
    "2**63 - 1 examples": train(shardLengths=[str(2**63 - 1)]),
    "-3 examples": train(shardLengths=["-3"]),
    "100,000 files": train(shardLengths=["1"] * 100_000),
    "another folder's split": train(name="../../other"),
    "another folder's file": train(filepathTemplate="/etc/passwd"),
    "another format": edited("dataset_info.json", lambda info: info.update(fileFormat="none")),
    "an image of 10**18 pixels": shape(10**9, 10**9, 3),
    "an image of -6 pixels": shape(-6, 5, 3),
    "an image without channels": shape(6, 5),
    "an image of 7 channels": shape(6, 5, 7),
    "an unknown dtype": image(dtype="float32"),
    "10**8 classes without names": classes(10**8, named=False),
    "200,000 names": classes(200_000, named=True),
    "no class": edited("features.json", lambda all: all["featuresDict"]["features"].pop("label")),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("storage", ["device", "stream"])
def test_one_message(write_tfds, damage, storage):
    pairs = {
        split: [(png(one), 1) for one in noise(count)]
        for split, count in (("train", 6), ("test", 3))
    }
    directory = write_tfds("pets", pairs)
    DAMAGES[damage](directory / "pets" / "1.0.0")
    config = DataConfig(name="pets", dir=str(directory), storage=storage, validation="none")
    with pytest.raises(DataError) as error, within(20):
        load_dataset(config, default="pets").splits["train"][-1]
    assert len(str(error.value).splitlines()) == 1
    assert "pets" in str(error.value)
    assert len(str(error.value)) < 600
