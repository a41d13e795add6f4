"""A checkpoint that is not as it was written is found, set aside and never loaded."""

import os
import shutil
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.durable import DamagedFile, read_record
from cnn_jax.training import Checkpoints
from cnn_jax.training.manifest import NAME

TARGET = {"w": jnp.zeros(300)}


def opened(directory: Path) -> Checkpoints:
    return Checkpoints(directory, best_metric="accuracy")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of the steps 2 (the best), 3 and 4."""
    directory = tmp_path_factory.mktemp("saved")
    checkpoints = opened(directory)
    for step in range(1, 5):
        metrics = {"accuracy": 0.9 if step == 2 else 0.1 / step}
        checkpoints.save(step, {"w": jnp.full(300, step)}, metrics, {"metrics.csv": f"{step}\r\n"})
    checkpoints.close()
    return directory


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def array_file(directory: Path, step: int) -> Path:
    """The largest file of a checkpoint, which holds the array."""
    files = [path for path in (directory / str(step) / "arrays").rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


def flip(path: Path, place: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[place if place >= 0 else len(content) // 2] ^= 4
    path.write_bytes(content)


def contents(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_every_file_is_in_the_manifest(saved: Path) -> None:
    for step in (2, 3, 4):
        folder = saved / str(step)
        names = {path.relative_to(folder).as_posix() for path in contents(folder)}
        assert NAME in names and names - {NAME} == read_record(folder / NAME)["files"].keys()
    assert (saved / "2" / "evaluation.json").exists()
    assert opened(saved).read(3, "metrics.csv") == "3\r\n"
    assert opened(saved).read(3, "evaluation.json") is None


def test_one_flipped_bit_is_found_in_every_file(copied: Path) -> None:
    checkpoints = opened(copied)
    for path, content in contents(copied / "4").items():
        flip(path)
        with pytest.raises(DamagedFile, match="the checkpoint of step 4 is damaged: "):
            checkpoints.restore(4, TARGET)
        path.write_bytes(content)
        assert checkpoints.damage(4) == ""
    np.testing.assert_array_equal(checkpoints.restore(4, TARGET)["w"], np.full(300, 4))
    checkpoints.close()


@pytest.mark.parametrize(
    "damage", ["flipped", "removed", "empty", "directory", "pipe", "manifest", "all"]
)
def test_a_damaged_one_is_set_aside_and_the_one_before_is_the_latest(
    copied: Path, damage: str
) -> None:
    path = array_file(copied, 4)
    if damage == "flipped":
        flip(path)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "manifest":
        (copied / "4" / NAME).unlink()
    elif damage == "all":
        shutil.rmtree(copied / "4")
        (copied / "4").touch()
    else:
        path.unlink()
        if damage == "directory":
            path.mkdir()
        elif damage == "pipe":
            os.mkfifo(path)
    before = contents(copied / "4")
    checkpoints = opened(copied)
    (line,) = checkpoints.mend()
    assert "step 4 is damaged and was renamed to 4.damaged" in line
    assert "the steps after 3 are repeated" in line
    assert checkpoints.steps() == [2, 3] and checkpoints.best_step() == 2
    assert list(contents(copied / "4.damaged").values()) == list(before.values())
    # It is written again, and the next damaged one has a name of its own.
    checkpoints.save(4, {"w": jnp.full(300, 4)})
    checkpoints.wait()
    assert checkpoints.steps() == [2, 3, 4] and checkpoints.mend() == []
    flip(array_file(copied, 4))
    assert "4.damaged-2" in checkpoints.mend()[0]
    checkpoints.close()


def test_a_damaged_best_is_said(copied: Path) -> None:
    flip(copied / "2" / "evaluation.json")
    checkpoints = opened(copied)
    (line,) = checkpoints.mend()
    assert "step 2 is damaged" in line and "the best weights so far may be lost" in line
    assert checkpoints.steps() == [3, 4] and checkpoints.best_step() is None
    checkpoints.close()


def test_where_none_is_whole_nothing_is_changed(copied: Path) -> None:
    for step in (2, 3, 4):
        flip(array_file(copied, step))
    before = contents(copied)
    checkpoints = opened(copied)
    with pytest.raises(DamagedFile, match="no checkpoint in .* is whole:\n  step 2: .*\n  step 3"):
        checkpoints.mend()
    checkpoints.close()
    assert contents(copied) == before


def test_what_a_kill_leaves_is_removed(saved: Path, copied: Path) -> None:
    # Between the rename and the removal of what is older, and in the middle of both.
    shutil.copytree(saved / "3", copied / "1")
    shutil.copytree(saved / "3", copied / "0.removed")
    (copied / "5.unfinished" / "arrays.orbax-checkpoint-tmp").mkdir(parents=True)
    checkpoints = opened(copied)
    assert checkpoints.steps() == [1, 2, 3, 4], "opening changes nothing"
    assert checkpoints.mend() == []
    checkpoints.close()
    assert sorted(path.name for path in copied.iterdir()) == ["2", "3", "4"]


def test_a_first_checkpoint_that_cannot_be_read_back_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Below such a path Orbax writes no arrays, which is why it is refused.
    monkeypatch.setattr(sys.modules[Checkpoints.__module__], "check_path", lambda path: None)
    checkpoints = opened(tmp_path / "run[1]")
    checkpoints.save(1, {"w": jnp.ones(300)})
    with pytest.raises(DamagedFile, match="the first checkpoint, .* cannot be read back"):
        checkpoints.wait()
    assert checkpoints.steps() == []
    checkpoints.close()
