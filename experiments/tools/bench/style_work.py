"""The work that the sides of the style benchmark share. Nothing here imports JAX or PyTorch."""

from pathlib import Path

import numpy as np

STYLE = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
CONTENT = "conv4_2"
CONTENT_WEIGHT, STYLE_WEIGHT = 1.0, 100.0
LEARNING_RATE = 0.02
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def pictures(size: int) -> list[np.ndarray]:
    """A content and a style picture of noise, [1, size, size, 3] in [0, 1]."""
    rng = np.random.default_rng(0)
    return [rng.random((1, size, size, 3), np.float32) for _ in range(2)]


def weights_file(directory: str) -> Path:
    """The file of our side's parameters, with PyTorch's names."""
    return Path(directory) / "torch.safetensors"
