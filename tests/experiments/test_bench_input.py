"""The sides of the input benchmark do the same work; nothing by a clock."""

import random
from dataclasses import asdict
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from experiments.tools.bench import devices, input, loop, our_stream, ours
from experiments.tools.bench.cases import CASES
from tests.tolerance import assert_close

needs_torch = pytest.mark.skipif(not find_spec("torch"), reason="needs torch")


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """Leave this process's memory and compilation cache as they are."""
    monkeypatch.setattr(ours, "set_up", lambda keep_memory=True: None)


@pytest.fixture
def folder(tmp_path):
    input.write_photographs(tmp_path, 32)
    return tmp_path


def test_photographs_become_files_of_two_classes_and_many_sizes(folder):
    files = sorted(folder.glob("train/*/*.jpg"))
    assert len(files) == 32 and len(list(folder.glob("train/*"))) == 2
    sizes = set()
    for path in files:
        with Image.open(path) as image:
            sizes.add(image.size)
    assert len(sizes) > 20
    least, largest = input.SIDES
    assert all(least <= side <= largest for size in sizes for side in size)


@needs_torch
def test_both_streams_give_normalized_batches_of_the_same_images(folder):
    from experiments.tools.bench import torch_stream

    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    random.seed(0)
    arguments = {"folder": str(folder), "image_size": 16, "batch_size": 32, "workers": 0}
    # Mean and deviation of all images once, by other random parts of them.
    statistics = our_stream.batches(**arguments)(1)
    assert_close(torch_stream.batches(**arguments)(1), statistics, atol=0.25)


@needs_torch
def test_transforms_by_hand_are_torchvisions(monkeypatch):
    from experiments.tools.bench import torch_stream, torchvision_package

    try:
        torchvision = torchvision_package.import_torchvision()
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"needs torchvision: {error}")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    image = Image.fromarray(pixels)
    by_hand = torch_stream.Transforms(16)
    # The same part and no flip on both sides.
    monkeypatch.setattr(by_hand, "_part", lambda width, height: (5, 7, 30, 20))
    monkeypatch.setattr(random, "random", lambda: 0.9)
    monkeypatch.setattr(
        torchvision.transforms.RandomResizedCrop,
        "get_params",
        staticmethod(lambda image, scale, ratio: (7, 5, 20, 30)),
    )
    monkeypatch.setattr(torchvision.transforms.RandomHorizontalFlip, "forward", lambda self, x: x)
    assert_close(by_hand(image).numpy(), torch_stream.transform(16)(image).numpy(), rtol=1e-6)


@needs_torch
def test_parts_lie_within_the_image():
    from experiments.tools.bench import torch_stream

    random.seed(0)
    for width, height in ((40, 60), (3, 200), (200, 3)):
        for _ in range(20):
            left, top, w, h = torch_stream.Transforms(8)._part(width, height)
            assert 0 <= left <= width - w and 0 <= top <= height - h and w > 0 and h > 0


def test_the_loop_writes_rows_and_trains_as_the_feed():
    arguments = {"case": asdict(CASES["mlp"]), "batch_size": 8, "augmented": True}
    looped, fed = loop.training(**arguments), ours.training(**arguments)
    assert looped(3) == pytest.approx(fed(3))
    assert looped(1) == pytest.approx(fed(1))


def test_virtual_devices_replace_the_number_that_is_there(monkeypatch):
    option = "--xla_force_host_platform_device_count"
    monkeypatch.setenv("XLA_FLAGS", f"--xla_dump_to=x {option}=8")
    assert devices.virtual_devices(2) == {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_dump_to=x {option}=2",
    }
