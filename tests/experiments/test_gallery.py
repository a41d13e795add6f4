"""The gallery's pictures, the commands that make them, and how they are kept."""

import shlex

import numpy as np
import pytest
from PIL import Image

from cnn_jax.errors import UserError
from experiments.__main__ import experiments
from experiments.tools import gallery
from experiments.tools.gallery import FOLDER, MOST_BYTES, MOST_WIDTH, PICTURES
from tests.only_parse import Parsed, only_parse, run_program  # noqa: F401 (a fixture)

COMMANDS = [line for command, _ in PICTURES.values() for line in command.splitlines()]


def test_every_experiment_whose_data_may_be_shown_has_a_picture():
    assert PICTURES.keys() == experiments().keys() - {"resnet_imagenet"}
    for name, (command, _) in PICTURES.items():
        assert command.splitlines()[-1].split()[0] == name


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.split()[0])
def test_a_command_has_flags_that_exist(command, only_parse, monkeypatch):  # noqa: F811
    name, *words = shlex.split(command)
    with pytest.raises(Parsed):
        run_program(f"experiments.{name}", words, monkeypatch)


def test_pictures_in_git_are_small_and_belong_to_an_experiment():
    pictures = list(FOLDER.iterdir())
    assert pictures and {path.name for path in pictures} <= {f"{name}.webp" for name in PICTURES}
    for path in pictures:
        assert path.stat().st_size <= MOST_BYTES
        with Image.open(path) as image:
            assert image.format == "WEBP" and image.width <= MOST_WIDTH


def test_a_picture_is_made_smaller_until_it_fits(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (30, 300, 3), np.uint8)
    image = Image.fromarray(noise)
    best = gallery.write_small(image, tmp_path / "best.webp").stat().st_size
    monkeypatch.setattr(gallery, "MOST_BYTES", best - 1)
    monkeypatch.setattr(gallery, "MOST_WIDTH", 150)
    path = gallery.write_small(image, tmp_path / "small.webp")
    assert path.stat().st_size < best
    with Image.open(path) as small:
        assert small.size == (150, 15)


def test_the_comparison_of_a_study_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "FOLDER", tmp_path / "gallery")
    for directory, value in (("run/member/figures", 0), ("run/figures", 255)):
        folder = tmp_path / directory
        folder.mkdir(parents=True)
        Image.new("RGB", (8, 8), (value,) * 3).save(folder / "segmentations.png")
    path = gallery.keep("unet", tmp_path / "run")
    assert path == tmp_path / "gallery" / "unet.webp"
    assert np.asarray(Image.open(path)).mean() > 250
    with pytest.raises(UserError, match=r"no map\.png below"):
        gallery.keep("word2vec", tmp_path / "run")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no_such"], "no picture of 'no_such'"),
        (["--run", "runs/unet"], "--run runs/unet is for one name, got 0"),
    ],
)
def test_wrong_options_are_told(words, message, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "2000")
    with pytest.raises(SystemExit) as exit:
        gallery.main(words)
    assert exit.value.code == 2
    output = capsys.readouterr()
    assert message in output.out + output.err


@pytest.mark.full
def test_a_command_makes_a_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "FOLDER", tmp_path)
    monkeypatch.setitem(PICTURES, "mlp_regression", ("mlp_regression --smoke", "fits_wave"))
    assert gallery.make("mlp_regression") == tmp_path / "mlp_regression.webp"
    monkeypatch.setitem(PICTURES, "mlp_regression", ("mlp_regression --no-flag 1", "fits_wave"))
    with pytest.raises(UserError, match="has failed"):
        gallery.make("mlp_regression")
