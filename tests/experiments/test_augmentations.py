"""The sheet of augmentations is drawn, of photographs and of any data set."""

import numpy as np
import pytest

from cnn_jax.data import DataConfig
from experiments import augmentations
from experiments.augmentations import Config


def test_the_sheet_of_photographs(start, tmp_path, capsys):
    start("augmentations", "--smoke")
    path = tmp_path / "augmentations" / "photographs.png"
    assert path.stat().st_size > 10_000
    assert "photographs.png" in capsys.readouterr().out


def test_every_augmentation_of_the_library_has_its_row():
    from cnn_jax.data import augment

    rows = " ".join(augmentations.augmentations(32))
    written = {name for name in augment.__all__ if name.startswith("random_")}
    for name in written | {"cutout", "colour_jitter"}:
        assert name in rows, name


def test_the_flower_has_boxes_around_its_mask():
    first, second = augmentations.photographs(64).examples
    mask, boxes = np.asarray(first["mask"]), np.asarray(first["boxes"])
    assert set(np.unique(mask)) == {0, 1, 2} and boxes.shape == (2, 4)
    for number, (x0, y0, x1, y1) in enumerate(boxes.astype(int), start=1):
        assert np.all(mask[y0:y1, x0:x1].max() == number)
        assert (mask == number).sum() == (mask[y0:y1, x0:x1] == number).sum()
    assert second.keys() == {"image"}


def test_a_gray_data_set_has_the_rows_that_suit_it(tmp_path, capsys):
    words = ["--data.name", "digits", "--draws", "1", "--workdir", str(tmp_path)]
    augmentations.main(words)
    assert (tmp_path / "augmentations" / "digits.png").exists()
    shown = " ".join(capsys.readouterr().out.split())
    assert "no random_flip" in shown and "no random_hue: the images are grey" in shown


def test_an_unknown_data_set_is_told(capsys):
    with pytest.raises(SystemExit) as exit:
        augmentations.main(["--data.name", "digit"])
    assert exit.value.code == 2
    assert "did you mean digits" in capsys.readouterr().out


def test_help_explains_every_flag(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        augmentations.main(["--help"])
    shown = capsys.readouterr().out
    for name in (*Config.__dataclass_fields__, "data.name"):
        assert f"--{name}" in shown


def test_a_data_set_with_masks_is_drawn_with_them():
    subject = augmentations.from_dataset(DataConfig(name="shapes", image_size=16), seed=0)
    first, second = subject.examples
    assert first.keys() == {"image", "mask", "instances", "boxes", "box_labels"} == second.keys()
    assert subject.class_names == ("one image", "another one")
