"""The network that a tool works with: public weights, a checkpoint file, or the result of a run."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cnn_jax import pretrained
from cnn_jax.data.decode import LONGEST_SIDE
from cnn_jax.durable import read_file
from cnn_jax.errors import ConfigError, UserError, check_range
from cnn_jax.models import (
    FCN,
    RCNN,
    SSD,
    DeepLab,
    RetinaNet,
    SegNet,
    UNet,
    create_model,
    example_shape,
)
from cnn_jax.models.registry import IMAGENET
from cnn_jax.pretrained import BySides, Network, Preprocessing
from cnn_jax.pretrained.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from cnn_jax.saved_run import Checkpoint, load_run
from cnn_jax.tasks import (
    Classification,
    Detection,
    Localization,
    MultiBoxDetection,
    RegionDetection,
    Segmentation,
)
from cnn_jax.tasks.detection import DetectorTask
from experiments.tools.own_models import import_own_models

SEGMENTERS = (FCN, DeepLab, SegNet, UNet)
"""Models that give the class of every pixel."""
DETECTORS: dict[type, Callable[..., Any]] = {
    RetinaNet: Detection,
    RCNN: RegionDetection,
    SSD: MultiBoxDetection,
}
"""The task that makes detections of the outputs of a model of boxes."""
BOX_TASKS = (DetectorTask, Localization)
"""Tasks that give the boxes of objects."""
MOST_MASK_CLASSES = 256
"""Classes that a mask of bytes can hold."""


@dataclass(frozen=True)
class NetworkConfig:
    """Which network: --run, or --model with --weights or --checkpoint."""

    model: str = ""
    """Name of a model, such as resnet50 (see python -m experiments.summary)."""
    weights: str = "DEFAULT"
    """Public weights of the model, such as IMAGENET1K_V1; DEFAULT is the best of them."""
    checkpoint: str = ""
    """With --model, instead of public weights: a file of your own, .safetensors, or PyTorch's .pth,
    .pt, .th, .ckpt, .bin or .tar, a state dict or a training script's checkpoint. With --run: best
    (on the validation split), last, or the number of a step; by default the one whose metrics the
    run's final table shows."""
    averaged: bool = True
    """Of a checkpoint that has both, take the moving average of the weights, not the last ones."""
    prefix: str = ""
    """Take only the checkpoint's names that begin with it, such as encoder_q., without it."""
    num_classes: int = 0
    """Classes of the checkpoint; 0: as many as the model has by default, such as 1000."""
    classes: str = ""
    """Text file with the name of a class in each line, in the order of the checkpoint's outputs."""
    image_size: int = 0
    """Height and width in pixels of the images that the checkpoint was trained on; 0: the size that
    the model is made for, such as 224 or 32."""
    resize: int = 0
    """Pixels of the shorter side, from which image_size is cut out; 0: as usual, 8/7 of image_size
    for models of ImageNet (256 for 224) and image_size for others. With models of boxes nothing is
    cut out; 0: 800."""
    mean: tuple[float, ...] = IMAGENET_MEAN
    """Of each channel in [0, 1], as the checkpoint was trained: 0.5 0.5 0.5 for torchvision's
    GoogLeNet and Inception v3; one number for gray images."""
    std: tuple[float, ...] = IMAGENET_STD
    """Of each channel in [0, 1], as the checkpoint was trained: 0.5 0.5 0.5 for torchvision's
    GoogLeNet and Inception v3; one number for gray images."""
    run: str = ""
    """Directory of a run, such as runs/resnet_cifar/1234abcd."""

    def __post_init__(self) -> None:
        check_range(self, 0, num_classes=self.num_classes)
        check_range(self, 0, LONGEST_SIDE, image_size=self.image_size, resize=self.resize)
        check_range(self, 0, 1, mean=self.mean)
        check_range(self, 0, 1, above=True, std=self.std)


def load_network(config: NetworkConfig) -> Network:
    """The classifier of images that a configuration names, with a name for each class.

    Raises:
        ConfigError: as `load_any_network`; a network for another task.
        UserError: as `load_any_network`.
    """
    return as_classifier(load_any_network(config))


def as_classifier(network: Network) -> Network:
    """The network with a name for each class; raises ConfigError unless it classifies images."""
    for is_one, gives, tool in (
        (segments, "the class of every pixel", "segment"),
        (detects, "the boxes of objects", "detect"),
    ):
        if is_one(network):
            raise ConfigError(
                f"{network.title}: expected a classifier of images, got a network that gives "
                f"{gives}; python -m experiments.{tool} is for those"
            )
    other_task = network.task is not None and not isinstance(network.task, Classification)
    if other_task or network.preprocessing is None:
        raise ConfigError(
            f"{network.title}: expected a classifier of images, got {_described(network)}"
        )
    return _named(network)


def as_segmenter(network: Network) -> Network:
    """The network with a name for each class.

    Raises:
        ConfigError: it does not give the class of every pixel, or of more than 256 classes.
    """
    if not segments(network) or network.preprocessing is None:
        raise ConfigError(
            f"{network.title}: expected a network for segmentation, got {_described(network)}; "
            "python -m experiments.predict is for classifiers"
        )
    network = _named(network)
    if len(network.class_names) > MOST_MASK_CLASSES:
        raise ConfigError(
            f"{network.title} has {len(network.class_names)} classes, and the masks of images can "
            f"hold {MOST_MASK_CLASSES}"
        )
    return network


def as_detector(network: Network) -> Network:
    """The network with a task that gives detections, and a name for each class.

    Raises:
        ConfigError: it does not give the boxes of objects.
    """
    if not detects(network) or network.preprocessing is None:
        raise ConfigError(
            f"{network.title}: expected a network that gives the boxes of objects, got "
            f"{_described(network)}; python -m experiments.predict is for classifiers"
        )
    if network.task is None:
        network = replace(network, task=DETECTORS[type(network.model)](network.model))
    return _named(network)


def segments(network: Network) -> bool:
    """Whether a network gives the class of every pixel."""
    if network.task is not None:
        return isinstance(network.task, Segmentation)
    return isinstance(network.model, SEGMENTERS)


def detects(network: Network) -> bool:
    """Whether a network gives the boxes of objects."""
    if network.task is not None:
        return isinstance(network.task, BOX_TASKS)
    return type(network.model) in DETECTORS


def _described(network: Network) -> str:
    model = type(network.model).__name__
    if network.task is None:
        return f"the model {model}"
    return f"a run of the task {type(network.task).__name__} with the model {model}"


def _named(network: Network) -> Network:
    return replace(network, class_names=network.class_names or numbered(network.model.num_classes))


def load_any_network(config: NetworkConfig) -> Network:
    """The network that a configuration names, of any task.

    Raises:
        ConfigError: no network or two of them, an unknown model, weights that do not fit.
        UserError: files that are missing or cannot be read.
    """
    if bool(config.run) == bool(config.model):
        got = "both" if config.run else "neither"
        raise ConfigError(
            "which network? Give --model NAME (with --weights or --checkpoint) or --run "
            f"DIRECTORY, got {got}"
        )
    if config.run:
        return load_run(config.run, checkpoint_of_run(config.checkpoint))
    import_own_models()
    if config.checkpoint:
        return _from_checkpoint(config)
    create_model(config.model)  # names similar models if it is unknown
    return pretrained.load(config.model, config.weights)


def checkpoint_of_run(text: str) -> Checkpoint:
    """The checkpoint that a flag names.

    Raises:
        ConfigError: an unknown name.
    """
    if text.isdecimal():
        return int(text)
    named: dict[str, Checkpoint] = {"": "reported", "best": "best", "last": "last"}
    if text not in named:
        raise ConfigError(
            f"--checkpoint {text} with --run: expected best, last or the number of a step"
        )
    return named[text]


def _from_checkpoint(config: NetworkConfig) -> Network:
    names = class_names(config)
    model = create_model(config.model, num_classes=len(names))
    check_scale(config)
    if type(model) in DETECTORS:
        preprocessing: Preprocessing | BySides = _by_sides(config, model)
    else:
        preprocessing = _cropped(config)
    try:
        variables = pretrained.from_torch(
            model,
            config.checkpoint,
            preprocessing.image_shape,
            averaged=None if config.averaged else False,
            prefix=config.prefix,
        )
    except ConfigError as error:
        given = "--classes" if config.classes else "--num-classes"
        raise ConfigError(
            f"{config.checkpoint} as {config.model} with {len(names)} classes ({given}) and "
            f"{len(config.mean)} channels (--mean): {error}"
        ) from None
    return Network(
        model=model,
        variables=variables,
        preprocessing=preprocessing,
        class_names=names,
        title=f"{config.model}, {Path(config.checkpoint).name}",
    )


def _cropped(config: NetworkConfig) -> Preprocessing:
    usual = example_shape(config.model)
    size = config.image_size or usual[0]
    resize = config.resize or (round(size * 8 / 7) if usual[0] >= IMAGENET[0] else size)
    if resize < size:
        raise ConfigError(f"--resize must be at least the image size of {size}, got {resize}")
    return Preprocessing(resize, size, config.mean, config.std)


def _by_sides(config: NetworkConfig, model: Any) -> BySides:
    usual = BySides(mean=config.mean, std=config.std)
    if isinstance(model, SSD):  # it resizes by itself
        return replace(usual, shorter=0)
    shorter = config.resize or config.image_size or usual.shorter
    return replace(usual, shorter=shorter, longer=shorter * usual.longer // usual.shorter)


def check_scale(config: NetworkConfig) -> None:
    """Raise ConfigError unless --mean and --std have as many numbers."""
    if len(config.mean) != len(config.std):
        raise ConfigError(
            f"--mean and --std need one number per channel, got {config.mean} and {config.std}"
        )


def class_names(config: NetworkConfig) -> tuple[str, ...]:
    """The names of a checkpoint's classes: those of its file, or "class 0" and so on."""
    if not config.classes:
        default = getattr(create_model(config.model), "num_classes", 1)
        return numbered(config.num_classes or default)
    try:
        lines = read_file(Path(config.classes).expanduser()).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the class names in {config.classes}: {error}") from None
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise UserError(f"{config.classes} is empty, expected the name of a class in each line")
    return names


def numbered(count: int) -> tuple[str, ...]:
    """Names for classes without any."""
    return tuple(f"class {number}" for number in range(count))
