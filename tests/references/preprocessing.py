"""Images of odd sizes and their preprocessing, for the record of torchvision's results."""

from typing import NamedTuple

import numpy as np


class Case(NamedTuple):
    height: int
    width: int
    resize: int
    crop: int
    interpolation: str = "bilinear"

    def __str__(self):
        return f"{self.height}x{self.width} {self.interpolation} {self.resize} {self.crop}"


CASES = [
    Case(97, 131, 32, 28),
    Case(131, 97, 33, 28),  # an odd margin, whose half is rounded to even
    Case(50, 50, 35, 28),
    Case(20, 37, 41, 28),  # enlarged
    Case(61, 45, 20, 27),  # padded on two sides
    Case(45, 300, 20, 27),  # padded above and below
    Case(97, 131, 32, 28, "bicubic"),
    Case(32, 64, 32, 32),  # of the right size already
    Case(400, 301, 232, 224),
]


def image(case):
    """A uint8 image with a smooth and a noisy half."""
    generator = np.random.default_rng(case.height * 1000 + case.width)
    noise = generator.integers(0, 256, (case.height, case.width, 3))
    rows, columns = np.mgrid[: case.height, : case.width]
    waves = 127 + 127 * np.sin(rows / 9.0) * np.cos(columns / 7.0)
    smooth = np.stack([waves, waves[::-1], waves[:, ::-1]], axis=-1)
    return np.where((columns < case.width // 2)[..., None], noise, smooth).astype(np.uint8)
