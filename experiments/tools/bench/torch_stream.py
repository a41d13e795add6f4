"""PyTorch's side of reading a folder of images: a DataLoader with torchvision's transforms.

If torchvision cannot be imported, the same transforms are written in Pillow and PyTorch. Nothing
here imports JAX.
"""

import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from experiments.tools.bench import pytorch
from experiments.tools.bench.side import RunSteps
from experiments.tools.bench.torchvision_package import import_torchvision

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
Transform = Callable[[Image.Image], Any]


class Files:
    """(image, class) of each image in a folder, like torchvision's ImageFolder."""

    def __init__(self, folder: Path, transform: Transform) -> None:
        classes = sorted(path for path in folder.iterdir() if path.is_dir())
        self.files = [
            (path, label)
            for label, directory in enumerate(classes)
            for path in sorted(directory.iterdir())
            if path.suffix.lower() in SUFFIXES
        ]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        path, label = self.files[index]
        with Image.open(path) as image:
            return self.transform(image.convert("RGB")), label


def batches(
    *, folder: str, image_size: int, batch_size: int, workers: int, platform: str = "cpu"
) -> RunSteps:
    """Normalized batches on the device."""
    pytorch.set_up(platform)
    import torch
    from torch.utils.data import DataLoader

    device = {"cpu": "cpu", "gpu": "cuda"}[platform]
    files: Any = Files(Path(folder) / "train", transform(image_size))
    loader = DataLoader(
        files,
        batch_size,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
        pin_memory=platform == "gpu",
        persistent_workers=workers > 0,
    )

    def forever() -> Iterator[Any]:
        while True:
            yield from loader

    stream = forever()

    def run(n: int) -> list[float]:
        for _ in range(n):
            images, _ = next(stream)
            images = images.to(device, non_blocking=True)
            assert images.shape == (batch_size, 3, image_size, image_size)
        if platform == "gpu":
            torch.cuda.synchronize()
        return [float(images.mean()), float(images.std())]

    return run


def transform(size: int) -> Transform:
    """Random resized crop, flip, conversion to a tensor, normalization."""
    try:
        transforms = import_torchvision().transforms
    except (ImportError, RuntimeError):
        return Transforms(size)
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(size),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )


class Transforms:
    """torchvision's four transforms, written by hand."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, image: Image.Image) -> Any:
        import numpy as np
        import torch

        left, top, width, height = self._part(*image.size)
        image = image.crop((left, top, left + width, top + height))
        image = image.resize((self.size, self.size), Image.Resampling.BILINEAR)
        if random.random() < 0.5:
            image = ImageOps.mirror(image)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
        mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
        return pixels.to(torch.float32).div(255).sub_(mean).div_(std)

    def _part(self, width: int, height: int) -> tuple[int, int, int, int]:
        for _ in range(10):
            area = width * height * random.uniform(0.08, 1.0)
            ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                return random.randint(0, width - w), random.randint(0, height - h), w, h
        w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
        return (width - w) // 2, (height - h) // 2, w, h
