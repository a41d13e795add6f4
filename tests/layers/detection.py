"""What the tests of boxes and regions share."""

import functools
import warnings

import numpy as np
import pytest

from tests.references.torchvision_models import import_torchvision

SIDE = 48


@pytest.fixture
def torchvision():
    pytest.importorskip("torch", reason="torch is not installed")
    try:
        return import_torchvision()
    except ImportError as error:
        pytest.skip(f"torchvision cannot be imported (set CNN_JAX_TORCHVISION_CPU?): {error}")


def drawn_boxes(rng, number, side=SIDE):
    """Boxes within an image: half of them at whole pixels, some equal, some without area."""
    corners = np.sort(rng.uniform(0, side, (number, 2, 2)), axis=1)
    whole = rng.random(number) < 0.5
    corners[whole] = np.round(corners[whole] / 4) * 4
    boxes = corners.reshape(number, 4)
    for _ in range(number // 8):
        i, j = rng.integers(number, size=2)
        boxes[i] = boxes[j]
    return boxes


@functools.cache
def onnx_cases():
    """ONNX's own test cases of all operators, by their names; made once, in 15 seconds."""
    loader = pytest.importorskip("onnx.backend.test.loader", reason="onnx is not installed")
    with warnings.catch_warnings(action="ignore"):
        return {case.name: case for case in loader.load_model_tests(kind="node")}
