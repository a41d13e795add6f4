import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from cnn_jax.visual import save_figure


def test_a_figure_is_saved_at_150_dots_an_inch_in_new_folders(tmp_path):
    path = tmp_path / "figures" / "curves.png"
    save_figure(Figure(figsize=(4, 3)), path)
    with Image.open(path) as image:
        assert image.size == (600, 450)
    assert list(path.parent.iterdir()) == [path]


def test_a_heading_is_written_above_and_changes_nothing_else(tmp_path):
    figure = Figure(figsize=(4, 3), layout="constrained")
    figure.add_subplot().plot([1, 2])
    pixels = {}
    for heading in ("", "a run and its network"):
        save_figure(figure, tmp_path / "curves.png", heading=heading)
        with Image.open(tmp_path / "curves.png") as image:
            pixels[bool(heading)] = np.asarray(image.convert("L"))
    more = len(pixels[True]) - 450
    assert more > 20 and pixels[True].shape[1] == 600
    np.testing.assert_array_equal(pixels[True][more:], pixels[False])
    assert pixels[True][:more].min() < 200 and not figure.texts


def test_a_failed_save_leaves_the_earlier_figure_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "curves.png"
    save_figure(Figure(), path)
    before = path.read_bytes()

    def fill_the_disk(self, partial, **options):
        partial.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(Figure, "savefig", fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        save_figure(Figure(), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown"):
        save_figure(Figure(), tmp_path / "curves.unknown")
