"""Pictures that were drawn one after another, as an animation."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from cnn_jax.durable import replacing

LONGEST_SIDE = 800
"""Pixels of the longer side of an animation."""


def save_animation(pictures: Sequence[Path], path: Path, *, seconds: float = 0.3) -> None:
    """Write a GIF that shows pictures in turn, again and again, and the last one longer.

    The file is replaced atomically. All frames have the size of the last picture, or less: the
    longer side has at most `LONGEST_SIDE` pixels.

    Args:
        pictures: files that Pillow reads.
        path: of the GIF.
        seconds: of each frame; the last one is shown for ten times as long.

    Raises:
        ValueError: there is no picture.
        OSError: a file cannot be read or written.
    """
    if not pictures:
        raise ValueError("expected at least one picture, got none")
    with Image.open(pictures[-1]) as last:
        factor = min(1.0, LONGEST_SIDE / max(last.size))
        size = round(last.width * factor), round(last.height * factor)
    frames = []
    for picture in pictures:
        with Image.open(picture) as image:
            frame = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
            frames.append(frame.convert("P", palette=Image.Palette.ADAPTIVE))
    milliseconds = round(1000 * seconds)
    with replacing(path) as partial:
        frames[0].save(
            partial,
            format="GIF",
            save_all=True,
            append_images=frames[1:],
            duration=[*[milliseconds] * (len(frames) - 1), 10 * milliseconds],
            loop=0,
        )
