import numpy as np
import pytest
from PIL import Image

from cnn_jax.visual import save_animation
from cnn_jax.visual.animation import LONGEST_SIDE


def test_frames_are_in_turn_and_the_last_one_stays(tmp_path):
    paths = []
    for number, (gray, width) in enumerate([(0, 40), (120, 41), (250, 42)]):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(np.full((30, width), gray, np.uint8)).save(paths[-1])
    save_animation(paths, tmp_path / "all.gif", seconds=0.1)
    with Image.open(tmp_path / "all.gif") as animation:
        assert animation.n_frames == 3 and animation.info["loop"] == 0
        for number, (gray, milliseconds) in enumerate([(0, 100), (120, 100), (250, 1000)]):
            animation.seek(number)
            assert animation.size == (42, 30)
            assert animation.info["duration"] == milliseconds
            assert abs(animation.convert("L").getpixel((5, 5)) - gray) < 3
    # What was there is replaced.
    save_animation(paths[:1], tmp_path / "all.gif")
    with Image.open(tmp_path / "all.gif") as animation:
        assert animation.n_frames == 1


def test_large_pictures_become_smaller(tmp_path):
    Image.fromarray(np.zeros((100, 2 * LONGEST_SIDE), np.uint8)).save(tmp_path / "one.png")
    save_animation([tmp_path / "one.png"], tmp_path / "one.gif")
    with Image.open(tmp_path / "one.gif") as animation:
        assert animation.size == (LONGEST_SIDE, 50)


def test_no_picture(tmp_path):
    with pytest.raises(ValueError, match="at least one picture"):
        save_animation([], tmp_path / "none.gif")
