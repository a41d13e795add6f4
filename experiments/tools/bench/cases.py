"""What the sides of a benchmark train: one entry per network.

An entry is a `Case` here, and a model of the same name in `torch_models.py` and in
`flax_models.py`. Images are noise, the same in every process. They are not augmented, because each
library draws different random numbers and the losses could not be compared.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

Task = Literal["classification", "segmentation", "reconstruction", "instances", "adversarial"]
AGAINST_TORCH: tuple[Task, ...] = ("instances", "adversarial")
"""Work that only PyTorch's side does too, and whose random samples differ."""

ADVERSARIAL_MOMENTUM = 0.5
"""Adam's beta_1 of both networks of a GAN."""
BATCHES = 4
"""Batches in the data set, which lies on the device."""
OBJECTS = 8
"""Objects in each image, where there are any."""


@dataclass(frozen=True)
class Case:
    """A network and the work that is measured."""

    model: str
    """Name in `cnn_jax.models` and in the tables of the opponents' models."""
    title: str
    image_shape: tuple[int, int, int]
    num_classes: int
    batch_size: int
    gpu_batch_size: int
    task: Task = "classification"
    optimizer: Literal["sgd", "adam"] = "sgd"
    """SGD with Nesterov momentum 0.9 and an L2 term on all parameters, or Adam without one."""
    learning_rate: float = 0.01
    mean: float = 0.5
    """Subtracted from pixels in [0, 1], which are then divided by `std`, in the step."""
    std: float = 0.25
    attributes: dict[str, Any] = field(default_factory=dict)
    """Attributes of our model."""
    tolerance: float = 0.0
    """How far the first losses of two libraries may differ, as a part of them, where their random
    samples differ; 0: as far as rounding allows."""

    @property
    def l2(self) -> float:
        """The factor of the L2 term."""
        return 5e-4 if self.optimizer == "sgd" else 0.0


_CIFAR = (32, 32, 3)
_IMAGENET = (224, 224, 3)
_MNIST = (28, 28, 1)
_CAMVID = (180, 240, 3)

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
            "network of airbench94 with SGD, images of 32 x 32",
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
            # In the first steps the gradients of float32 and float64 differ by half a percent in
            # every library; with larger rates the losses diverge.
            learning_rate=1e-6,
        ),
        Case(
            "vgg16",
            "VGG-16 without dropout, images of 224 x 224",
            _IMAGENET,
            1000,
            batch_size=8,
            gpu_batch_size=128,
            # Dropout draws different values in each library.
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
        Case(
            "unet",
            "U-Net with zero padding and BatchNorm, images of 240 x 180",
            _CAMVID,
            11,
            batch_size=4,
            gpu_batch_size=32,
            task="segmentation",
            attributes={"border": "same", "norm": "batch", "dropout": 0.0},
        ),
        Case(
            "fcn8s",
            "FCN-8s on VGG-16 without dropout, images of 240 x 180",
            _CAMVID,
            11,
            batch_size=4,
            gpu_batch_size=32,
            task="segmentation",
            attributes={"dropout": 0.0},
        ),
        Case(
            "maskrcnn_resnet50_fpn",
            "Mask R-CNN on ResNet-50 with frozen BatchNorm, images of 512 x 512",
            (512, 512, 3),
            3,
            batch_size=1,
            gpu_batch_size=8,
            task="instances",
            learning_rate=1e-6,
            attributes={"norm": "frozen"},
            tolerance=0.1,
        ),
        Case(
            "dcgan",
            "DCGAN, one update of the discriminator and one of the generator, images of 64 x 64",
            (64, 64, 3),
            10,
            batch_size=64,
            gpu_batch_size=512,
            task="adversarial",
            optimizer="adam",
            # With the paper's 2e-4 the first losses depend even more on the noise.
            learning_rate=1e-6,
            # A generator's images are in [-1, 1].
            mean=0.5,
            std=0.5,
            attributes={"latent": 100, "width": 64},
            # Each side draws its own noise.
            tolerance=0.25,
        ),
    )
}


def noise(case: Case, batch_size: int) -> dict[str, np.ndarray]:
    """The data set: uint8 images, and int32 labels: of each image, each of its pixels, or objects.

    The names are those of examples.
    """
    rng = np.random.default_rng(0)
    count = BATCHES * batch_size
    images = rng.integers(0, 256, (count, *case.image_shape), dtype=np.uint8)
    if case.task == "instances":
        return {"image": images, **_objects(case, count, rng)}
    dense = case.task == "segmentation"
    labelled = images.shape[:3] if dense else count
    labels = rng.integers(0, case.num_classes, labelled, dtype=np.int32)
    return {"image": images, "mask" if dense else "label": labels}


def _objects(case: Case, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Rectangles of a sixteenth of the image's sides or more; the later ones are in front."""
    height, width, _ = case.image_shape
    size, shape = np.array([width, height]), (count, OBJECTS, 2)
    sides = rng.integers(size // 16, size // 3, shape)
    corners = (rng.random(shape) * (size - sides)).astype(np.int64)
    boxes = np.concatenate([corners, corners + sides], axis=2)
    instances = np.zeros((count, height, width), np.uint8)
    for image, of_image in zip(instances, boxes.tolist(), strict=True):
        for number, (x0, y0, x1, y1) in enumerate(of_image, start=1):
            image[y0:y1, x0:x1] = number
    # Class 0 is the background.
    labels = rng.integers(1, case.num_classes, (count, OBJECTS), dtype=np.int32)
    return {"boxes": boxes.astype(np.float32), "box_labels": labels, "instances": instances}


def order_file(directory: Path) -> Path:
    """The file where our side writes its order of examples, which its opponents use too."""
    return directory / "order.npy"


def weights_file(directory: Path, layout: Literal["ours", "torch"]) -> Path:
    """The file where our side writes its initial parameters, with our names or PyTorch's."""
    return directory / f"{layout}.safetensors"
