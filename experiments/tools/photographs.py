"""The two photographs of scikit-learn."""

from typing import Literal

import numpy as np
from jaxtyping import Float
from PIL import Image

from cnn_jax.extras import extra

Photograph = Literal["temple", "flower"]


def load_photograph(name: Photograph, height: int) -> Float[np.ndarray, "height width 3"]:
    """An RGB image in [0, 1] with this height in pixels, about 1.5 times as wide."""
    with extra("data", "a photograph"):
        from sklearn.datasets import load_sample_image  # takes a second to import

    file_name = {"temple": "china.jpg", "flower": "flower.jpg"}[name]
    pixels = Image.fromarray(load_sample_image(file_name))
    size = (round(height * pixels.width / pixels.height), height)
    return np.asarray(pixels.resize(size, Image.Resampling.LANCZOS), np.float32) / 255
