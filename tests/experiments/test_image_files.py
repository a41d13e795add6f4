import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from cnn_jax.errors import UserError
from experiments.tools import image_files
from experiments.tools.image_files import check_any, find_images, read_images, show_bad

HALVES = np.zeros((40, 60, 3), np.uint8)
HALVES[:, :30] = (250, 20, 30)


@pytest.fixture(scope="module")
def odd_files(tmp_path_factory):
    """One folder with a file of each odd kind, and a text that no folder search should find."""
    folder = tmp_path_factory.mktemp("images")
    picture = Image.fromarray(HALVES)
    picture.save(folder / "good.jpg", quality=95)
    picture.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    picture.convert("L").save(folder / "gray.png")
    picture.quantize(4).save(folder / "palette.png")
    picture.convert("RGBA").save(folder / "rgba.PNG")
    Image.fromarray(np.full((30, 30), 40_000, np.uint16)).save(folder / "sixteen.png")
    exif = Image.Exif()
    exif[274] = 6  # to be turned by a quarter, clockwise
    picture.save(folder / "turned.jpg", exif=exif, quality=95)
    jpeg = (folder / "good.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "text.jpg").write_text("no image at all\n")
    (folder / "empty.png").write_bytes(b"")
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    (folder / "notes.txt").write_text("not looked at")
    (folder / "deep" / "deeper").mkdir(parents=True)
    picture.save(folder / "deep" / "deeper" / "last.webp", lossless=True)
    (folder / ".hidden").mkdir()
    picture.save(folder / ".hidden" / "thumbnail.png")
    return folder


def test_good_ones_are_read_and_bad_ones_named(odd_files):
    paths = find_images([odd_files])
    good, bad = read_images(paths)
    names = [path.name for path, _ in good]
    images = ["cmyk.jpg", "good.jpg", "gray.png", "last.webp", "palette.png", "rgba.PNG"]
    assert sorted(names) == [*images, "sixteen.png", "turned.jpg"]
    assert all(image.dtype == np.uint8 and image.shape[2] == 3 for _, image in good)
    reasons = {path.name: reason for path, reason in bad}
    assert reasons.keys() == {"truncated.jpg", "text.jpg", "empty.png", "loop.jpg"}
    assert "truncated" in reasons["truncated.jpg"].lower()
    assert reasons["text.jpg"] == "its content is not an image"
    assert reasons["empty.png"] == "it is empty"
    assert "symbolic links" in reasons["loop.jpg"]


def test_all_kinds_show_the_same_picture(odd_files):
    images = {
        path.name: image.astype(int) for path, image in read_images(find_images([odd_files]))[0]
    }
    for name in ("good.jpg", "cmyk.jpg", "palette.png", "rgba.PNG", "last.webp"):
        assert np.abs(images[name] - HALVES).max() <= 40, name  # JPEG at the border of the halves
        assert np.abs(images[name] - HALVES).mean() < 3, name
    assert np.all(images["gray.png"][..., 0] == images["gray.png"][..., 2])
    assert np.all(images["sixteen.png"] == 40_000 >> 8)
    assert np.abs(images["turned.jpg"] - np.rot90(HALVES, -1)).mean() < 3


def huge_png(path: Path, width: int, height: int) -> None:
    """One colour in one bit a pixel: a huge picture in a small file."""
    Image.new("1", (width, height), 1).save(path)


def test_a_huge_picture_is_reduced(tmp_path, recwarn):
    huge_png(tmp_path / "huge.png", 12_000, 9_000)
    Image.new("RGB", (5_000, 2_600), (10, 200, 30)).save(tmp_path / "large.jpg")
    good, bad = read_images(find_images([tmp_path]))
    assert not bad and not recwarn.list
    huge, large = (image for _, image in good)
    assert huge.shape == (2048, 2731, 3) and huge.min() == 255
    assert large.shape == (2048, 3938, 3)
    assert np.abs(large.astype(int) - (10, 200, 30)).max() <= 3


def test_a_picture_over_the_limit_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("cnn_jax.data.decode.MOST_PIXELS", 2_000)
    huge_png(tmp_path / "bomb.png", 50, 41)
    huge_png(tmp_path / "under.png", 50, 40)
    good, bad = read_images(find_images([tmp_path]))
    assert [path.name for path, _ in good] == ["under.png"]
    assert "50 x 41 pixels, and the limit is 2,000" in bad[0][1]


def test_a_strip_is_named(tmp_path):
    huge_png(tmp_path / "strip.png", 2, 101)
    assert "strip of 2x101 pixels" in read_images([tmp_path / "strip.png"])[1][0][1]


def test_what_is_named_is_read_whatever_it_is_called(odd_files, tmp_path):
    (tmp_path / "picture").write_bytes((odd_files / "good.jpg").read_bytes())
    assert len(read_images(find_images([tmp_path / "picture"]))[0]) == 1
    twice = find_images([odd_files / "good.jpg", odd_files, str(odd_files / "good.jpg")])
    assert len(twice) == len(set(twice)) and twice[0].name == "good.jpg"


def test_pipes_and_devices_are_named(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    _, bad = read_images([*find_images([tmp_path]), Path("/dev/zero")])
    assert [path.name for path, _ in bad] == ["pipe.png", "zero"]
    assert {reason for _, reason in bad} == {"it is not a regular file"}


def test_nothing_to_read(tmp_path):
    (tmp_path / "no images").mkdir()
    paths = find_images([tmp_path / "no images", tmp_path / "missing.jpg"])
    good, bad = read_images(paths)
    assert not good
    assert "holds no images (.avif" in bad[0][1]
    assert bad[1] == (tmp_path / "missing.jpg", "No such file or directory")
    with pytest.raises(UserError, match=r"none of 2 files .*\n.*no images: the fold.*\n.*missing"):
        check_any(len(good), bad)
    check_any(1, bad)


def test_bad_files_are_shown_as_they_are_named():
    file = io.StringIO()
    show_bad(Console(file=file, width=40), [(Path("[bold]a.jpg"), "it is empty")])
    assert file.getvalue() == "1 file could not be read:\n  [bold]a.jpg: it is empty\n"
    show_bad(Console(file=file), [])
    assert file.getvalue().count("\n") == 2


def test_the_limit_is_well_above_what_networks_see():
    assert image_files.AT_MOST >= 4 * 342
