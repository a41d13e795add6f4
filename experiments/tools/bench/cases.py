"""What the programs of a benchmark train: one entry a network.

An entry is a `Case` here, a model of the same name in `torch_models.py` and one in
`flax_models.py`. Images are noise, the same in every process; they are not augmented, for every
library draws other random numbers, and the losses could not be compared.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

BATCHES = 4
"""Batches of the data set, which lives on the device."""


@dataclass(frozen=True)
class Case:
    """A network with the work that is measured."""

    model: str
    """Name in `cnn_jax.models`, and in the tables of the opponents' models."""
    title: str
    image_shape: tuple[int, int, int]
    num_classes: int
    batch_size: int
    gpu_batch_size: int
    task: Literal["classification", "reconstruction"] = "classification"
    optimizer: Literal["sgd", "adam"] = "sgd"
    """Nesterov's momentum of 0.9 and an L2 term on all parameters, or Adam without one."""
    learning_rate: float = 0.01
    mean: float = 0.5
    """Taken off the pixels between 0 and 1, which are then divided by `std`, in the step."""
    std: float = 0.25
    attributes: dict[str, Any] = field(default_factory=dict)
    """Of our model."""

    @property
    def l2(self) -> float:
        """Factor of the L2 term."""
        return 5e-4 if self.optimizer == "sgd" else 0.0


_CIFAR = (32, 32, 3)
_IMAGENET = (224, 224, 3)
_MNIST = (28, 28, 1)

CASES = {
    case.model: case
    for case in (
        Case(
            "cifar_resnet20",
            "ResNet-20, images of 32 x 32",
            _CIFAR,
            10,
            batch_size=128,
            gpu_batch_size=512,
            attributes={"shortcut": "B"},
        ),
        Case(
            "cifar_airbench94",
            "network of airbench94 by SGD, images of 32 x 32",
            _CIFAR,
            10,
            batch_size=500,
            gpu_batch_size=2000,
        ),
        Case(
            "resnet50",
            "ResNet-50, images of 224 x 224",
            _IMAGENET,
            1000,
            batch_size=16,
            gpu_batch_size=256,
            # In its first steps float32 differs from float64 by half a percent of the gradient,
            # with every library: larger rates take the losses apart.
            learning_rate=1e-6,
        ),
        Case(
            "vgg16",
            "VGG-16 without dropout, images of 224 x 224",
            _IMAGENET,
            1000,
            batch_size=8,
            gpu_batch_size=128,
            # Which values it drops is random, in every library differently.
            attributes={"dropout": 0.0},
        ),
        Case(
            "mlp",
            "MLP 256-128-100, images of 28 x 28",
            _MNIST,
            10,
            batch_size=128,
            gpu_batch_size=1024,
        ),
        Case(
            "autoencoder",
            "autoencoder 784-1000-500-250-30 and its mirror, images of 28 x 28",
            _MNIST,
            10,
            batch_size=128,
            gpu_batch_size=1024,
            task="reconstruction",
            optimizer="adam",
            learning_rate=1e-3,
            # The reconstruction is of pixels between 0 and 1.
            mean=0.0,
            std=1.0,
        ),
    )
}


def noise(case: Case, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """The data set: uint8 images [examples, height, width, channels] and int32 labels."""
    rng = np.random.default_rng(0)
    count = BATCHES * batch_size
    images = rng.integers(0, 256, (count, *case.image_shape), dtype=np.uint8)
    return images, rng.integers(0, case.num_classes, count, dtype=np.int32)


def order_file(directory: Path) -> Path:
    """Our program writes here in which order it takes the examples; its opponents take it, too."""
    return directory / "order.npy"


def weights_file(directory: Path, layout: Literal["ours", "torch"]) -> Path:
    """Our program writes its first parameters here, by our names or by PyTorch's."""
    return directory / f"{layout}.safetensors"
