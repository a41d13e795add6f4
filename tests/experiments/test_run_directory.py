"""What config.json, its copy and the directory of a run survive, and what is refused."""

import json
import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cnn_jax.durable import DamagedFile, read_record, write_kept_record
from cnn_jax.run_record import NoRunRecord
from cnn_jax.training import TrainingConfig
from experiments.tools import run_directory
from experiments.tools.run_directory import (
    claim,
    identity,
    load_config,
    load_rates,
    read_config,
)
from experiments.tools.same_run import RunDirectoryError
from experiments.tools.saved_runs import read_runs


@dataclass(frozen=True)
class Part:
    width: int = 3


@dataclass(frozen=True)
class Config:
    depth: int = 2
    part: Part = field(default_factory=Part)


@dataclass(frozen=True)
class Bounded:
    training: TrainingConfig = field(default_factory=TrainingConfig)


def start(directory: Path, config: Config = Config(), **options: Any) -> list[str]:
    same = identity("mine", config, 0, {"name": "digits", "title": "digits"})
    return claim(directory, same, {}, config_class=Config, **options)


DAMAGE = {
    "empty": b"",
    "cut": b'{\n  "experiment": "mi',
    "zeros": bytes(50),
    "binary": b"\xff\xfe\x80",
    "a list": b"[1]",
    "nested": b"[" * 100_000,
}


@pytest.mark.parametrize("damage", [*DAMAGE, "removed", "directory", "pipe", "another seed"])
def test_a_damaged_config_is_mended_from_its_copy(tmp_path: Path, damage: str) -> None:
    start(tmp_path)
    path = tmp_path / "config.json"
    text = path.read_text()
    if damage == "another seed":
        path.write_text(text.replace('"seed": 0', '"seed": 1'))
    else:
        path.unlink()
    if damage == "directory":
        path.mkdir()
    elif damage == "pipe":
        os.mkfifo(path)
    elif damage in DAMAGE:
        path.write_bytes(DAMAGE[damage])
    assert load_config(Config, tmp_path) == (Config(), 0)  # which changes nothing
    (note,) = start(tmp_path)
    assert "config.json" in note and "it is written anew from its copy" in note
    assert path.read_text() == text
    assert (tmp_path / "config.json.damaged").exists() == (damage != "removed")
    assert start(tmp_path) == []


def test_a_damaged_copy_is_written_anew(tmp_path: Path) -> None:
    start(tmp_path)
    (tmp_path / "config.copy.json").write_bytes(b"")
    assert start(tmp_path) == []
    path = tmp_path / "config.json"
    assert (tmp_path / "config.copy.json").read_bytes() == path.read_bytes()


def test_without_a_copy_a_damaged_config_is_refused_as_it_is(tmp_path: Path) -> None:
    start(tmp_path)
    (tmp_path / "config.json").write_bytes(b"")
    (tmp_path / "config.copy.json").unlink()
    with pytest.raises(DamagedFile, match=r"cannot read .*config\.json"):
        start(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize("member", ["", "one"])
def test_checkpoints_without_a_config_are_no_new_run(tmp_path: Path, member: str) -> None:
    (tmp_path / member / "checkpoints" / "3").mkdir(parents=True)
    with pytest.raises(RunDirectoryError, match="holds checkpoints .*Put it back, or give another"):
        start(tmp_path)
    assert not (tmp_path / "config.json").exists()


def test_a_field_that_is_newer_than_the_run_has_its_default(tmp_path: Path) -> None:
    start(tmp_path)
    older = read_config(tmp_path)
    older["config"] = {"depth": 2}
    write_kept_record(tmp_path / "config.json", older)
    start(tmp_path)
    assert load_config(Config, tmp_path) == (Config(), 0)
    with pytest.raises(RunDirectoryError, match="config.part.width: there 3, asked 4"):
        start(tmp_path, Config(part=Part(4)))


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        *(("experiment", 3), ("config", [1]), ("seed", "x"), ("data", None), ("sweep", "abc")),
        *(("networks", []), ("networks", {"": None}), ("networks", {"a": {"task": {}, "data": 3}})),
        *(("earlier", {}), ("resumed", 5)),
    ],
)
def test_a_config_with_an_entry_of_another_type_is_not_one_of_a_run(
    tmp_path: Path, entry: str, value: Any
) -> None:
    start(tmp_path)
    path = tmp_path / "config.json"
    write_kept_record(path, read_config(tmp_path) | {entry: value})
    for reads in (start, partial(load_config, Config), load_rates, read_runs):
        with pytest.raises(NoRunRecord, match=rf"config\.json is not one of a run: .*{entry}"):
            reads(tmp_path)
    with pytest.raises(RunDirectoryError, match="holds no run"):
        start(tmp_path, overwrite=True)


@pytest.mark.parametrize("entry", ["experiment", "config", "seed"])
def test_a_config_without_an_entry_is_not_one_of_a_run(tmp_path: Path, entry: str) -> None:
    start(tmp_path)
    saved = read_config(tmp_path)
    del saved[entry]
    write_kept_record(tmp_path / "config.json", saved)
    with pytest.raises(NoRunRecord, match=f"it has no entry {entry}"):
        start(tmp_path)


def test_a_stored_value_that_is_refused_today(tmp_path: Path) -> None:
    same = identity("mine", Bounded(), 0, {"name": "digits", "title": "digits"})
    same["config"]["training"]["accumulate"] = 0
    claim(tmp_path, same, {}, config_class=Bounded)
    with pytest.raises(RunDirectoryError, match="refused today: TrainingConfig.accumulate must be"):
        load_config(Bounded, tmp_path)
    same["config"]["training"]["accumulate"] = 1
    with pytest.raises(RunDirectoryError, match="config.training.accumulate: there 0, asked 1"):
        claim(tmp_path, same, {}, config_class=Bounded)


def test_a_resume_adds_what_is_new_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start(tmp_path)
    first = read_config(tmp_path)
    start(tmp_path)
    assert read_config(tmp_path) == first
    newer = run_directory.environment() | {"git_commit": "1234abc", "versions": {"jax": "9"}}
    monkeypatch.setattr(run_directory, "environment", lambda: newer)
    for _ in range(2):
        start(tmp_path)
        (resumed,) = read_config(tmp_path)["resumed"]
        assert resumed["git_commit"] == "1234abc" and resumed["versions"] == {"jax": "9"}
    assert first | {"resumed": [resumed]} == read_config(tmp_path)


def test_unfinished_files_of_a_kill_are_removed(tmp_path: Path) -> None:
    start(tmp_path)
    (tmp_path / "figures").mkdir()
    left = [tmp_path / ".metrics.csv.77.partial", tmp_path / "figures" / ".curves.png.77.partial"]
    for path in left:
        path.touch()
    (tmp_path / "mine.partial").touch()
    start(tmp_path)
    assert not any(path.exists() for path in left) and (tmp_path / "mine.partial").exists()


def test_a_record_is_json_with_a_digest(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    value = {"a": [1, 2.5, None], "b": {"1": float("nan")}}
    write_kept_record(path, value)
    saved = json.loads(path.read_text())
    assert len(saved.pop("sha256")) == 64 and saved["a"] == value["a"]
    assert read_record(path)["a"] == value["a"]
    path.write_text(path.read_text().replace("2.5", "2.6"))
    with pytest.raises(DamagedFile, match="has changed since it was written"):
        read_record(path)
