"""The network that a tool is to work with: public weights, a file of one's own, or a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from flax import linen as nn
from jaxtyping import Float32, UInt8

from cnn_jax import pretrained
from cnn_jax.errors import ConfigError, UserError
from cnn_jax.models import create_model
from cnn_jax.pretrained.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from experiments.tools.saved_run import load_run

Image = UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class NetworkConfig:
    """Which network: --run, or --model with --weights or --checkpoint."""

    model: str = ""
    """Name of a model, such as resnet50 (see python -m experiments.summary)."""
    weights: str = "DEFAULT"
    """Public weights of the model, such as IMAGENET1K_V1; DEFAULT is the best of them."""
    checkpoint: str = ""
    """In place of public weights a state dict of one's own: .safetensors, or PyTorch's .pth."""
    num_classes: int = 1000
    """Classes of the checkpoint."""
    classes: str = ""
    """Text file with the name of a class in each line, in the order of the checkpoint's outputs."""
    image_size: int = 224
    """Height and width in pixels of the images that the checkpoint is for."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Of each channel in [0, 1], as the checkpoint was trained: 0.5 for torchvision's GoogLeNet and
    Inception v3."""
    std: tuple[float, float, float] = IMAGENET_STD
    """Of each channel in [0, 1], as the checkpoint was trained: 0.5 for torchvision's GoogLeNet and
    Inception v3."""
    run: str = ""
    """Directory of a run of one's own, such as runs/resnet_cifar/1234abcd."""


class ImagePreprocessing(Protocol):
    """What makes a model's input of a uint8 RGB image."""

    @property
    def mean(self) -> tuple[float, ...]: ...

    @property
    def std(self) -> tuple[float, ...]: ...

    def __call__(self, image: Image) -> Float32[np.ndarray, "height width channels"]: ...

    def resize_and_crop(self, image: Image) -> UInt8[np.ndarray, "height width channels"]:
        """What the model sees, before it is normalized."""
        ...


@dataclass(frozen=True)
class Network:
    """A classifier and all that it takes to use it.

    Attributes:
        model: the module; `model.apply(variables, preprocessing(image)[None])` gives logits.
        variables: its `params` and statistics.
        preprocessing: makes the model's input of a uint8 RGB image.
        class_names: by label, one for each output.
        title: what a figure says of it.
    """

    model: nn.Module
    variables: dict[str, Any]
    preprocessing: ImagePreprocessing
    class_names: tuple[str, ...]
    title: str


def load_network(config: NetworkConfig) -> Network:
    """The network that a configuration names.

    Raises:
        ConfigError: no network or two of them, an unknown model, weights that do not fit.
        UserError: files that are not there or cannot be read.
    """
    if bool(config.run) == bool(config.model):
        got = "both" if config.run else "neither"
        raise ConfigError(
            "which network? Give --model NAME (with --weights or --checkpoint) or --run "
            f"DIRECTORY, got {got}"
        )
    if config.run:
        run = load_run(config.run)
        return Network(run.model, run.variables, run.preprocessing, run.class_names, run.title)
    if config.checkpoint:
        return _from_checkpoint(config)
    create_model(config.model)  # an unknown name is said with those that are close
    loaded = pretrained.load(config.model, config.weights)
    return Network(
        model=loaded.model,
        variables=loaded.variables,
        preprocessing=loaded.preprocessing,
        class_names=loaded.class_names or numbered(loaded.model.num_classes),
        title=f"{config.model}, {config.weights}",
    )


def _from_checkpoint(config: NetworkConfig) -> Network:
    size, names = config.image_size, class_names(config)
    model = create_model(config.model, num_classes=len(names))
    try:
        variables = pretrained.from_torch(model, config.checkpoint, (size, size, 3))
    except ConfigError as error:
        given = "--classes" if config.classes else "--num-classes"
        raise ConfigError(
            f"{config.checkpoint} as {config.model} with {len(names)} classes ({given}): {error}"
        ) from None
    return Network(
        model=model,
        variables=variables,
        preprocessing=checkpoint_preprocessing(config),
        class_names=names,
        title=f"{config.model}, {Path(config.checkpoint).name}",
    )


def checkpoint_preprocessing(config: NetworkConfig) -> Preprocessing:
    """The usual one: the shorter side to 8/7 of the image size (224: 256), then its centre."""
    resize = round(config.image_size * 8 / 7)
    return Preprocessing(resize, config.image_size, config.mean, config.std)


def class_names(config: NetworkConfig) -> tuple[str, ...]:
    """The names of a checkpoint's classes: of its file, else "class 0" and so on."""
    if not config.classes:
        return numbered(config.num_classes)
    try:
        lines = Path(config.classes).expanduser().read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the class names in {config.classes}: {error}") from None
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise UserError(f"{config.classes} is empty, expected the name of a class in each line")
    return names


def numbered(count: int) -> tuple[str, ...]:
    """Names for classes without any."""
    return tuple(f"class {number}" for number in range(count))
